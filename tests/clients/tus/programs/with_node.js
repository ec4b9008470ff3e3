// Uploads a file with tus-js-client: node with_node.js FOLDER FILE NAME TOKEN CHUNK STORAGE.
// CHUNK is how many bytes a PATCH has at most, 0 for all of them. The address of the upload is kept
// in the file STORAGE: who is started again goes on with it, and says so.
import { log } from "node:console";
import { createReadStream, statSync } from "node:fs";
import { FileUrlStorage, Upload } from "tus-js-client";

const [endpoint, path, filename, token, chunk, storage] = process.argv.slice(2);
const upload = new Upload(createReadStream(path), {
  endpoint,
  chunkSize: Number(chunk) || Infinity,
  uploadSize: statSync(path).size,
  retryDelays: Array(20).fill(100),
  metadata: { filename },
  headers: { Authorization: token },
  urlStorage: new FileUrlStorage(storage),
  fingerprint: async () => `tus-${filename}`,
  onError(error) {
    throw error;
  },
});
const [known] = await upload.findPreviousUploads();
if (known) {
  log(`goes on with ${known.uploadUrl}`);
  upload.resumeFromPreviousUpload(known);
}
upload.start();
