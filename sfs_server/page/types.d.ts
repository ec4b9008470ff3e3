// The types of the web page: what the service sends (as /openapi.json describes it), and what the
// page's modules have in common. The browser never sees this file; `make lint` checks by it.

/** A file, as the service lists it. Times are Unix seconds, sizes are bytes. */
interface StoredFile {
  namespace: string;
  name: string;
  size: number;
  modified_at: number;
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

/** Where one file can be had without a token. */
interface FileLink {
  url: string;
  download: string;
  /** Unix seconds; null where the file's own address is enough */
  expires: number | null;
}

/** One page of a list of the service; `next` is the path of the page after it. */
interface Page<Entry> {
  entries: Entry[];
  next: string | null;
}

/** What has been loaded of the namespace that is shown. */
type ApiError = import("./static/api.js").ApiError;

interface LoadedFiles extends Page<StoredFile> {
  loading: boolean;
  error: ApiError | null;
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

type UploadState =
  | "queued"
  | "checking"
  | "clash"
  | "running"
  | "unreachable"
  | "done"
  | "failed"
  | "cancelled";

/** One upload of the queue. */
interface Upload {
  id: number;
  namespace: string;
  file: File;
  name: string;
  /** bytes */
  size: number;
  state: UploadState;
  /** the person wants what has that name to be replaced */
  replace: boolean;
  /** bytes that have left the browser */
  sent: number;
  /** bytes that the service has stored; null where no event stream says it */
  stored: number | null;
  /** [seconds, bytes], of the last seconds */
  samples: [number, number][];
  /** what is shown where it failed */
  error: string;
  /** how often the service was unreachable */
  tries: number;
  stop: () => void;
}

/** An event of an input of a form. */
type InputEventOf = Event & { target: HTMLInputElement & { files: FileList } };
/** An event of the element that listens, such as a click on a button. */
type ElementEvent = Event & { currentTarget: HTMLElement; target: HTMLElement };

type State = typeof import("./static/store.js").state;

/** What a row of the table is made of. */
interface RowProps {
  file: StoredFile;
  /** its place among the rows, from 0 */
  at: number;
  writable: boolean;
  selected: boolean;
  /** it is where the arrow keys move from */
  current: boolean;
  onToggle: (at: number, range: boolean) => void;
  onFocus: () => void;
}
