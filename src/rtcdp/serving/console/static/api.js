// Asking the API, with the token of this session.

export class Problem extends Error {
  constructor(body, status) {
    super(body.detail || body.title || `HTTP ${status}`);
    this.status = status;
    this.errors = body.errors || [];
  }
}

export const token = {
  get: () => sessionStorage.getItem("token") || "",
  set: (text) => sessionStorage.setItem("token", text),
};

async function fetched(path, options = {}) {
  const headers = {Authorization: `Bearer ${token.get()}`, ...options.headers};
  const answer = await fetch(path, {...options, headers});
  if (!answer.ok) throw new Problem(await answer.json().catch(() => ({})), answer.status);
  return answer;
}

/** The JSON that a path answers. */
export const get = async (path) => (await fetched(path)).json();

/** The JSON that a path answers to a JSON body. */
export const post = async (path, body) => (
  await fetched(path, {method: "POST", body: JSON.stringify(body), headers: {"Content-Type": "application/json"}})
).json();

/** A part of a path. */
export const part = encodeURIComponent;

/** Save what a path answers as a file. */
export async function download(path, name) {
  const address = URL.createObjectURL(await (await fetched(path)).blob());
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  URL.revokeObjectURL(address);
}

/** Follow the live stream until `signal` aborts: `told(kind, data)` for each record. Comes back where it was after a break. */
export async function follow(query, told, signal) {
  let last = "";
  while (!signal.aborted) {
    try {
      const headers = last ? {"Last-Event-ID": last} : {};
      const reader = (await fetched(`/v1/stream${query}`, {headers, signal})).body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const {done, value} = await reader.read();
        if (done) break;
        text += value;
        const blocks = text.split("\n\n");
        text = blocks.pop();
        for (const block of blocks) {
          const fields = Object.fromEntries(block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
          if (!fields.data) continue;
          last = fields.id;
          told(fields.event, JSON.parse(fields.data));
        }
      }
    } catch (problem) {
      if (signal.aborted) return;
      if (problem.status === 401 || problem.status === 403) throw problem;
    }
    await new Promise((go) => setTimeout(go, 1500));
  }
}
