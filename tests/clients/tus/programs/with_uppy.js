// Uppy with its plug-in for tus. `send` is for the test that opens the page; what it resolves to is
// the names of the files that were uploaded.
import Uppy from "@uppy/core";
import Tus from "@uppy/tus";

window.send = async ({ endpoint, token, chunk, files }) => {
  const uppy = new Uppy().use(Tus, {
    endpoint,
    chunkSize: chunk || Infinity,
    retryDelays: Array(20).fill(100),
    headers: { Authorization: token },
  });
  for (const file of files) uppy.addFile({ name: file.name, type: file.type, data: file });
  const { successful } = await uppy.upload();
  return successful.map((file) => file.name);
};
