// The server, asked by the same routes as everybody else asks.

const KEY = "mimic-api-key";

/** What the server says went wrong, in OpenAI's words. */
export class Problem extends Error {
  constructor(message, code, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** The API key, which ends with the tab. A browser that keeps nothing for pages keeps it until the page is left. */
export const key = {
  held: null,
  get: () => key.held ?? storage?.getItem(KEY) ?? null,
  use(text) {
    key.held = text;
    storage?.setItem(KEY, text);
  },
};

const storage = (() => {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
})();

/** The JSON that a route answers. Throws a Problem. */
export async function get(path, query = {}) {
  const asked = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== ""));
  const answer = await request(asked.size ? `${path}?${asked}` : path);
  return answer.json().catch(() => fail("The answer is not JSON.", "not_json", answer));
}

/** The answer to a JSON body, its headers there, its body still to be read. Throws a Problem. */
export const post = (path, body, headers, signal) =>
  request(path, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
    signal,
  });

/** The events of a stream, each parsed, until its `[DONE]`. Throws a Problem where it breaks off before. */
export async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) fail("The answer broke off.", "stream_broken", answer);
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts.filter((part) => part.startsWith("data:"))) {
        const data = part.slice("data:".length).trim();
        if (data === "[DONE]") return;
        const event = JSON.parse(data);
        if (event.error) fail(event.error.message, event.error.code, answer);
        yield event;
      }
    }
  } catch (failure) {
    if (failure.name === "AbortError" || failure instanceof Problem) throw failure;
    fail("The answer broke off.", "stream_broken", answer); // the connection, or in the middle of an event
  } finally {
    reader.cancel().catch(() => {});
  }
}

function fail(message, code, { status }) {
  throw new Problem(message, code, status);
}

async function request(path, { headers, ...options } = {}) {
  const authorization = key.get() ? { authorization: `Bearer ${key.get()}` } : {};
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { ...authorization, ...headers } });
  } catch (failure) {
    if (failure.name === "AbortError") throw failure;
    throw new Problem("The server cannot be reached.", "unreachable", 0);
  }
  if (answer.ok) return answer;
  const { error } = await answer.json().catch(() => ({ error: null }));
  throw new Problem(error?.message ?? `The server answered ${answer.status}.`, error?.code ?? null, answer.status);
}
