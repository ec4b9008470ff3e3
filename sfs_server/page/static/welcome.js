// A token that came with the address.
import { become, notify, open } from "./actions.js";
import { credential, getSession } from "./api.js";
import { state } from "./store.js";

/**
 * Anyone who is signed in stays so unless they say otherwise: by somebody else's link they would
 * work in that person's name, who can then see what they do.
 * @param {string} token
 */
export async function welcome(token) {
  const free = credential.get() === null;
  try {
    const next = await getSession(token);
    if (free || state.session?.user === next.user) await become(token, next);
    else open("switch", { token, next });
  } catch (error) {
    if (!free) notify(`The link does not sign you in: ${error.message}`, { error: true });
    else if (error.status === 401) open("sign-in", { link: true });
    else {
      credential.set(token); // it is tried again when the service is back
      notify(error.message, { error: true });
    }
  }
}
