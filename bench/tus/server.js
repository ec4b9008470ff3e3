// @tus/server on plain files, as its own documentation starts it: node server.js PORT DIRECTORY.
// A file has the name that the metadata of its upload gives.
import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";

const [port, directory] = process.argv.slice(2);
const server = new Server({
  path: "/files",
  datastore: new FileStore({ directory }),
  namingFunction: (request, metadata) => metadata.filename,
});
server.listen({ host: "127.0.0.1", port: Number(port) });
