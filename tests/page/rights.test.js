// What is offered to whom.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as rights from "../../sfs_server/page/static/rights.js";

/** @param {string} user */
const session = (user, admin = false) => ({ user, username: user, admin });
/** @param {string | null} owner */
const owned = (owner, name = "photos") => ({ name, owner, count: 0, hidden: false });

for (const [who, ns, may] of /** @type {[Session | null, Namespace, string][]} */ ([
  [null, owned(null, "default"), ""],
  [null, owned("alice"), ""],
  [session("alice"), owned("alice"), "write manage delete"],
  [session("bob"), owned("alice"), ""],
  [session("bob"), owned(null, "default"), "write"],
  [session("root", true), owned("alice"), "write manage delete"],
  [session("root", true), owned(null, "default"), "write manage"],
])) {
  const person = who ? who.user : "a visitor";
  const whose = ns.owner ? `the namespace of ${ns.owner}` : ns.name;
  test(`${person} may ${may.replaceAll(" ", ", ") || "only read"}: ${whose}`, () => {
    const found = [
      rights.mayWrite(who, ns) && "write",
      rights.mayManage(who, ns) && "manage",
      rights.mayDeleteNamespace(who, ns) && "delete",
    ];
    assert.equal(found.filter(Boolean).join(" "), may);
  });
}

test("a visitor may make no namespace, and in none that is not known may anyone write", () => {
  assert.equal(rights.mayCreateNamespace(null), false);
  assert.equal(rights.mayCreateNamespace(session("alice")), true);
  assert.equal(rights.mayWrite(session("alice"), undefined), false);
});
