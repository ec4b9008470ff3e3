// The paths by which the page asks for files.
import assert from "node:assert/strict";
import { test } from "node:test";
import "./browser.js";
import { viewPath } from "../../sfs_server/page/static/api.js";

test("each segment of a file's path is encoded, and the slashes stay", () => {
  assert.equal(viewPath("photos", "2024/a b/50% é?.jpg"), "/storage/photos/2024/a%20b/50%25%20%C3%A9%3F.jpg");
  assert.equal(viewPath("photos", "#1"), "/storage/photos/%231");
});
