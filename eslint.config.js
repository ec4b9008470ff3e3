// What `make lint` looks for in the JavaScript of the web page and of its tests.
import js from "@eslint/js";
import globals from "globals";

// The policy of the page forbids to make markup or code out of text (Trusted Types).
const MARKUP = ["innerHTML", "outerHTML", "insertAdjacentHTML", "write", "writeln", "srcdoc"];

const rules = {
  ...js.configs.recommended.rules,
  "array-callback-return": "error",
  "default-case-last": "error",
  eqeqeq: "error",
  "no-alert": "error",
  "no-console": "error",
  "no-duplicate-imports": "error",
  "no-eval": "error",
  "no-implied-eval": "error",
  "no-new-func": "error",
  "no-restricted-properties": ["error", ...MARKUP.map((property) => ({ property }))],
  "no-self-compare": "error",
  "no-shadow": "error",
  "no-unreachable-loop": "error",
  "no-unused-expressions": ["error", { allowShortCircuit: true }],
  "no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
  "no-use-before-define": ["error", { functions: false, variables: false }],
  "no-var": "error",
  "object-shorthand": "error",
  "prefer-const": "error",
  "prefer-template": "error",
  "require-atomic-updates": "error",
};

export default [
  { ignores: ["**/vendor/**"] },
  {
    files: ["sfs_server/page/static/*.js", "tests/clients/**/with_uppy.js"],
    languageOptions: { globals: globals.browser },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules,
  },
  {
    files: ["tests/page/*.js", "tests/clients/**/with_node.js", "bench/tus/*.js", "*.js"],
    languageOptions: { globals: globals.node },
    rules,
  },
];
