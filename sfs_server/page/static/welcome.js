// A token that came with the address.
import { become, notify, open } from "./actions.js";
import { credential, getSession } from "./api.js";
import { state } from "./store.js";

// Whoever is signed in stays so unless they say otherwise: somebody else's link would have them work
// in the name of that one, who can see then what they do.
export async function welcome(token) {
  const free = credential.get() === null;
  try {
    const next = await getSession(token);
    if (free || state.session?.user === next.user) await become(token, next);
    else open("switch", { token, next });
  } catch (error) {
    if (!free) notify(`The link does not sign you in: ${error.message}`, { error: true });
    else if (error.status === 401) open("sign-in", { expired: true });
    else {
      credential.set(token); // it is tried again when the service is back
      notify(error.message, { error: true });
    }
  }
}
