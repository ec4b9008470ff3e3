// Addresses of the page, and the places that they name.
import assert from "node:assert/strict";
import { test } from "node:test";
import { addressOf, placeIn, placeOf } from "../../sfs_server/page/static/places.js";

/** @param {string} address */
function at(address) {
  const { pathname, search } = new URL(address, "http://sfs.test");
  return placeOf({ pathname, search });
}

for (const [address, place] of /** @type {[string, Partial<Place>][]} */ ([
  ["/", { namespace: "default" }],
  ["/ns/photos", { namespace: "photos" }],
  ["/ns/photos/2024/", { namespace: "photos", folder: "2024" }],
  ["/ns/photos/2024/june/", { namespace: "photos", folder: "2024/june" }],
  ["/ns/photos/a.jpg", { namespace: "photos", file: "a.jpg" }],
  ["/ns/default/a.jpg", { namespace: "default", file: "a.jpg" }],
  ["/ns/photos/2024/a%20b%25.jpg", { namespace: "photos", folder: "2024", file: "2024/a b%.jpg" }],
  ["/ns/photos/%C3%A9%3F/", { namespace: "photos", folder: "é?" }],
  ["/ns/photos/x/?find=a+b%26c", { namespace: "photos", folder: "x", find: "a b&c" }],
  ["/?sort=-modified", { namespace: "default", sort: { key: "modified_at", down: true } }],
  ["/?sort=size&at=b.txt", { namespace: "default", sort: { key: "size", down: false }, at: "b.txt" }],
])) {
  test(`${address} is the address of a place, and that place has this address`, () => {
    const whole = { ...placeIn("default"), ...place };
    assert.deepEqual(at(address), whole);
    assert.equal(addressOf(whole), address);
  });
}

for (const address of [
  "/nonsense",
  "/ns",
  "/ns/",
  "/ns//a",
  "/ns/photos//",
  "/ns/photos/a//b",
  "/ns/photos/%ff",
  "/ns/photos/a%2Fb",
  "/x/photos/a",
]) {
  test(`${address} is the address of nothing`, () => {
    assert.equal(at(address).namespace, "");
  });
}

test("an unknown order is by name", () => {
  assert.deepEqual(at("/?sort=colour").sort, { key: "name", down: false });
});

test("a file of another folder than the one that is listed is not looked for there", () => {
  const place = { ...placeIn("photos"), find: "jp", file: "2024/a.jpg" };
  assert.equal(addressOf(place), "/ns/photos/2024/a.jpg");
});

test("a namespace with a slash behind it is its top", () => {
  assert.deepEqual(at("/ns/photos/"), placeIn("photos"));
});
