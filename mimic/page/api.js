// Requests to the server, through its public routes.

const KEY = "mimic-api-key";

/** An error of the server, in OpenAI's shape. */
export class Problem extends Error {
  constructor(message, code, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** The API key, kept until the tab is closed. Without session storage, it is kept until the page is left. */
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

/** The JSON answer of a route. Throws a Problem. */
export async function get(path, query = {}) {
  const fields = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== ""));
  const answer = await request(fields.size ? `${path}?${fields}` : path);
  return answer.json().catch(() => fail("The answer is not JSON.", "not_json", answer));
}

/** Send a JSON body; the body of the answer is still unread. Throws a Problem. */
export const post = (path, body, headers, signal) =>
  request(path, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(body),
    signal,
  });

/** The parsed events of a stream, up to its `[DONE]`. Throws a Problem if it breaks off. */
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
    fail("The answer broke off.", "stream_broken", answer); // a lost connection, or an incomplete event
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
