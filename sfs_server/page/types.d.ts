// The types of the web page: what the service sends (as /openapi.json describes it), and what the
// page's modules have in common. The browser never sees this file; `make lint` checks by it.

/** A file or a folder of a list. Times are Unix seconds, sizes are bytes. */
interface Entry {
  type: "file" | "folder";
  namespace: string;
  /** the whole path in the namespace */
  path: string;
  /** its last segment */
  name: string;
  /** 0 of a folder */
  size: number;
  modified_at: number;
  /** "" of a folder */
  content_type: string;
}

/** A namespace, as the service lists it. */
interface Namespace {
  name: string;
  /** null while the files cannot be counted */
  count: number | null;
  hidden: boolean;
  /** null: it is shared by all */
  owner: string | null;
}

/** Who is signed in. */
interface Session {
  user: string;
  username: string;
  admin: boolean;
}

/** Where one file, or one folder, can be fetched without a token. */
interface FileLink {
  url: string;
  download: string;
  /** Unix seconds; null where the file's own address is enough */
  expires: number | null;
}

/** One page of a list of the service; `next` is the path of the page after it. */
interface Page<Item> {
  entries: Item[];
  next: string | null;
}

/** How a file is shown: see viewer-kinds.js. */
type ViewKind =
  | "image"
  | "video"
  | "audio"
  | "pdf"
  | "page"
  | "markdown"
  | "table"
  | "text"
  | "unknown"
  | "none";

/** What Markdown becomes: nodes of Preact, and text. */
type MarkdownNode = any;
/** What the places are called that links of Markdown lead to. */
type Labels = Map<string, string>;

/** What has been fetched of a file that is text: see viewer-text.js. */
interface Excerpt {
  /** pieces that follow each other */
  parts: string[];
  /** bytes of them */
  shown: number;
  /** bytes of the file */
  total: number;
  etag: string | null;
  /** null until the first bytes have been looked at, and where they are no text */
  encoding: string | null;
  binary: boolean;
  loading: boolean;
  error: string;
}

type ApiError = import("./static/api.js").ApiError;

/** What has been loaded of the list that is shown: folders first, then files. */
interface Loaded {
  entries: Entry[];
  /** the name after which the rest goes on; null where all is loaded */
  after: string | null;
  /** there is more, which is not loaded */
  cut: boolean;
  loading: boolean;
  error: ApiError | null;
}

/** What the service says has changed in the folder that is watched. */
type Change =
  | { change: "put" | "deleted"; type: "file" | "folder"; name: string }
  | { change: "many"; name?: undefined };

/** Where the page is: see places.js. */
interface Place {
  /** "" where the address is none of the page's */
  namespace: string;
  /** the path of the folder that is listed, "" for the top */
  folder: string;
  /** the path of the file that is shown, or "" */
  file: string;
  /** what is looked for in the folder and below, or "" */
  find: string;
  sort: Sort;
  /** the name at the top of the window, or "" */
  at: string;
}

/** The file that is shown, once it is known, and a URL of its bytes; or why it is not. */
interface Viewing {
  path: string;
  file: Entry | null;
  url: string;
  error: string;
}

type SortKey = "name" | "size" | "modified_at";

interface Sort {
  key: SortKey;
  down: boolean;
}

interface Notice {
  id: number;
  text: string;
  error: boolean;
  /** what else can be done about it */
  offer?: Offer;
}

interface Offer {
  label: string;
  act: () => unknown;
}

interface MenuItem {
  icon: string;
  label: string;
  act: () => unknown;
  danger?: boolean;
}

/** The menu that is open: what opened it, and where that is in the window. */
interface OpenMenu {
  items: MenuItem[];
  from: HTMLElement;
  box: DOMRect;
}

/** The dialog that is open; the other properties are those of its component. */
interface OpenDialog {
  kind: string;
  [detail: string]: unknown;
}

/** see queue.js */
type UploadState =
  | "queued"
  | "checking"
  | "clash"
  | "running"
  | "waiting"
  | "done"
  | "failed"
  | "cancelled";

/** What a person wants where a name is taken. */
type Choice = "replace" | "keep" | "skip";

/** A folder of a namespace. */
type Where = Pick<Place, "namespace" | "folder">;

/** What a person dropped or picked, as the browser gives it. */
type Source = File | FileSystemEntry;

/** A file that was dropped or picked, and where it is below that; null: an empty folder. */
interface Picked {
  path: string;
  file: File | null;
  size: number;
  /** milliseconds since 1970 */
  lastModified: number;
}

/** What was dropped or picked: files, and the paths of empty folders and of what cannot be read. */
interface Found {
  files: Picked[];
  folders: string[];
  unread: string[];
}

/** The numbers of all uploads together. */
interface Sums {
  active: { files: number; folders: number };
  done: { files: number; folders: number };
  failed: { files: number; folders: number };
  /** folders in which there is what is done or under way */
  folders: number;
  /** bytes of that: all, those that have left the browser, those shown as stored */
  size: number;
  sent: number;
  reached: number;
  /** something that failed may be tried again */
  again: boolean;
}

/** One upload of the queue. */
interface Upload {
  id: number;
  /** those that were added together have one */
  batch: number;
  /** whose it is */
  user: string | null;
  namespace: string;
  /** the path that it had when it was picked */
  picked: string;
  /** where it goes */
  path: string;
  /** the path of which this one is a copy; empty where it is none */
  base: string;
  /** null where an empty folder is made */
  file: File | null;
  /** bytes */
  size: number;
  /** when the file was changed, in milliseconds since 1970 */
  lastModified: number;
  state: UploadState;
  /** the person wants what is there to be replaced */
  replace: boolean;
  /** what is at its path, or in the way to it, where that is asked about and known */
  there: Entry | null;
  /** what was said for all files of its batch */
  choice: Choice | null;
  /** a number that grows with each question that is asked */
  asked: number;
  /** the path of its session; empty where there is none */
  url: string;
  /** it began in another visit, and the service has not said yet how much is stored */
  recalled: boolean;
  /** bytes that were stored in another visit */
  from: number;
  /** bytes that have left the browser */
  sent: number;
  /** bytes that the service has stored for good */
  stored: number;
  /** bytes that are shown as stored: see sending.js */
  reached: number;
  /** seconds from the last byte of a piece to the response */
  lag: number;
  /** bytes of the newest piece, and of the largest that may be sent */
  piece: number;
  most: number;
  /** [seconds, bytes], of the last seconds */
  samples: [number, number][];
  /** why it failed, or waits */
  error: string;
  /** it may be tried again as it is */
  again: boolean;
  /** the service does not take its path, or anything else of the request: another one may help */
  misnamed: boolean;
  /** a response was lost: it may be stored already */
  unsure: boolean;
  /** changes with everything that is shown */
  version: number;
  /** ends the request that runs */
  control: AbortController | null;
}

/** An upload that has begun, as the browser keeps it from one visit to the next. */
interface Remembered {
  user: string | null;
  namespace: string;
  path: string;
  replace: boolean;
  url: string;
  stored: number;
  /** the file: the path that it had when it was picked, its bytes, when it was changed */
  picked: string;
  size: number;
  lastModified: number;
  /** milliseconds since 1970 */
  expires: number;
}

/** What belongs to a request that brings bytes. */
interface Exchange {
  headers?: Record<string, string>;
  body?: Blob | null;
  /** told how many bytes have left the browser */
  sent?: (bytes: number) => void;
  signal: AbortSignal;
  /** how often it was tried before */
  tries?: number;
}

/** An event of an input of a form. */
type InputEventOf = Event & { target: HTMLInputElement & { files: FileList } };
/** An event of the element that listens, such as a click on a button. */
type ElementEvent = Event & { currentTarget: HTMLElement; target: HTMLElement };

type State = typeof import("./static/store.js").state;

/** What a row of the table is made of. */
interface RowProps {
  entry: Entry;
  /** its place among the rows, from 0 */
  at: number;
  /** where it is drawn, as a length of CSS */
  top: string;
  writable: boolean;
  selected: boolean;
  /** it is where the arrow keys move from */
  current: boolean;
  /** it gets another name */
  renaming: boolean;
  /** it was just added or changed */
  fresh: boolean;
  onToggle: (at: number, range: boolean) => void;
  onFocus: () => void;
}
