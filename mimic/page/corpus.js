// The corpus: counts, lengths, and the most common messages.

import { byId, element, number, percent, plural, quoted, size } from "./elements.js";
import { facts, histogram, shares } from "./plots.js";

const MOST_SENDERS = 4;
const MOST_MESSAGES = 12;

/** The share of messages below which a role gets no plot. */
const LEAST_SHARE = 0.01;

const ROLES = { user: "Users", assistant: "Assistants" };

const KINDS = {
  user: "User messages",
  assistant: "Answers",
  system: "System messages",
  call: "Tool calls",
  result: "Tool results",
  other: "Other messages",
};

/** Show a corpus from the answer of `GET /corpus`. `onTry` is called with the message that the user picks. */
export function showCorpus({ versions, default_version: preferred }, onTry) {
  const entry = versions[preferred] ?? Object.values(versions)[0];
  const { profile } = entry;
  byId("profile").replaceChildren(
    facts([
      ["conversations", number(entry.conversations)],
      ["messages", number(entry.messages)],
      ["per conversation", (entry.messages / Math.max(entry.conversations, 1)).toFixed(1)],
      ["versions", Object.keys(versions).join(", ")],
    ]),
    ...(profile ? plots(profile) : [noProfile()]),
    ...(profile ? [common(profile, onTry)] : []),
    origin(entry),
    table(versions, preferred),
  );
}

/** The most common user messages that are not shortened. */
export function suggestions({ versions, default_version: preferred }) {
  const profile = (versions[preferred] ?? Object.values(versions)[0]).profile;
  const users = profile?.roles.find(({ role }) => role === "user")?.common ?? [];
  return users.filter((message) => isWhole(message) && message.text.trim()).map(({ text }) => text).slice(0, 6);
}

const isWhole = ({ text, characters }) => [...text].length === characters;

const noProfile = () =>
  element("p", { class: "muted" }, "An earlier version of Mimic seeded this corpus, without statistics. Seed it again to see them.");

function plots(profile) {
  const total = profile.roles.reduce((sum, { messages }) => sum + messages, 0);
  const unlisted = profile.unlisted_messages ? [{ label: "others", count: profile.unlisted_messages }] : [];
  const senders = profile.senders.slice(0, MOST_SENDERS).map(({ sender, messages }) => ({ label: sender || "(no name)", count: messages }));
  const rest = profile.senders.slice(MOST_SENDERS).reduce((sum, { messages }) => sum + messages, 0);
  if (rest) unlisted.unshift({ label: `${plural(profile.senders.length - MOST_SENDERS, "more sender")}`, count: rest });
  const lengths = profile.roles
    .filter(({ messages }) => messages >= LEAST_SHARE * total)
    .map(({ role, lengths: distribution }) => histogram(KINDS[role], distribution, "characters"));
  return [
    element(
      "div",
      { class: "plots" },
      element("figure", {}, element("figcaption", {}, "Messages by sender"), shares([...senders, ...unlisted])),
      histogram("Conversations", profile.conversation_lengths, "messages"),
      ...lengths,
    ),
  ];
}

function common(profile, onTry) {
  const lists = profile.roles
    .filter(({ role, common: messages }) => messages.length && (role === "user" || role === "assistant")) // empty without a key
    .map((role) => commonOf(role, role.role === "user" ? onTry : null));
  return element("div", { class: "common" }, ...lists);
}

function commonOf({ role, common: messages, messages: all, uncertainty }, onTry) {
  const rows = messages.filter(({ count }) => count > 1).slice(0, MOST_MESSAGES).map((message) => {
    const { text, characters, count } = message;
    const shown = isWhole(message) ? quoted(text) : quoted(`${text}…`);
    const label = onTry && isWhole(message) && text.trim()
      ? element("button", { type: "button", class: "link", title: "Try it in the chat", onclick: () => onTry(text) }, shown)
      : element("span", { title: plural(characters, "character") }, shown);
    return element("li", {}, label, element("span", { class: "value", title: percent(count, all) }, number(count)));
  });
  const heading = `Most common messages: ${ROLES[role].toLowerCase()}`;
  const bound = uncertainty
    ? element("p", { class: "hint" }, `Counts are approximate: each may be too low, by ${number(uncertainty)} at most.`)
    : null;
  const list = rows.length ? element("ol", {}, ...rows) : element("p", { class: "hint" }, "No message occurs twice.");
  return element("div", {}, element("h3", {}, heading), list, bound);
}

function origin({ source, sources, seeded_at: at, index }) {
  const when = new Date(at);
  const time = element("time", { dateTime: at }, when.toLocaleString("en", { dateStyle: "medium", timeStyle: "short" }));
  const files = sources?.length ? sources : [source];
  return element(
    "div",
    { class: "origin" },
    element("h3", {}, "Sources"),
    element("ol", { class: "sources" }, ...files.map(file)),
    element("p", { class: "muted" }, "Seeded on ", time, index ? `. The index of similar messages takes ${size(index.bytes)}.` : "."),
  );
}

/** A file of the corpus: its name, its size, and its SHA-256. */
const file = ({ name, bytes, sha256 }) =>
  element(
    "li",
    {},
    element("bdi", {}, name),
    element("span", { class: "value" }, size(bytes)),
    element("code", { class: "muted", title: "SHA-256 of the file" }, element("span", { class: "unseen" }, "SHA-256 "), sha256),
  );

function table(versions, preferred) {
  const rows = Object.entries(versions).map(([version, { documents, size: taken }]) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, version, version === preferred ? element("span", { class: "hint" }, " default") : null),
      ...[number(documents), size(taken.data_bytes), size(taken.index_bytes)].map((text) => element("td", {}, text)),
    ),
  );
  const heads = ["Version", "Documents", "Data", "Indexes"].map((text) => element("th", { scope: "col" }, text));
  return element(
    "table",
    {},
    element("caption", { class: "unseen" }, "Size of each version"),
    element("thead", {}, element("tr", {}, ...heads)),
    element("tbody", {}, ...rows),
  );
}
