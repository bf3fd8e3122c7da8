// Markdown, from the tokens of a parser to elements. No text becomes HTML: the parser's own renderer is not used.

import MarkdownIt from "./vendor/markdown-it.esm.min.mjs";

import { codeBlock } from "./code.js";
import { element, patch } from "./elements.js";
import { withoutPartialMarkup } from "./partial.js";

/** Elements within elements. Deeper ones are left out, and their texts are kept. */
const DEEPEST = 32;

/** Blocks within blocks. The parser leaves out the texts of deeper ones. */
const MOST_LEVELS = 100;

const parser = new MarkdownIt({ html: false, breaks: true, linkify: false, maxNesting: MOST_LEVELS });
parser.disable("lheading"); // a line of dashes below a text is a rule, which a text that still grows needs
parser.validateLink = isLink;

/** A text that grows, shown as Markdown. Only its last block is parsed again. */
export class MarkdownView {
  #blocks = 0;
  #start = 0;
  #definitions = {};

  constructor(holder) {
    this.holder = holder;
  }

  /** Show the text up to now. It begins with the text of the last call; `isWhole` at its end. */
  show(text, isWhole) {
    const source = text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text;
    this.#showRest(source, isWhole);
    if (isWhole && this.#start && this.#definitions.references) {
      this.#blocks = this.#start = 0; // links may come before their definitions
      this.#showRest(source, isWhole);
    }
  }

  #showRest(source, isWhole) {
    const rest = source.slice(this.#start);
    const tokens = parser.parse(isWhole ? rest : withoutPartialMarkup(rest), this.#definitions);
    const blocks = build(tokens);
    patch(this.holder, blocks, this.#blocks);
    if (blocks.length < 2) return;
    this.#blocks += blocks.length - 1;
    this.#start += offset(rest, tokens.findLast(({ level, map }) => level === 0 && map).map[0]);
  }
}

/** The position of a line in a text, counted from 0. */
function offset(text, line) {
  let position = 0;
  for (let passed = 0; passed < line; passed++) position = text.indexOf("\n", position) + 1;
  return position;
}

const plain = (name) => () => element(name);
const cell = (name) => (token) => element(name, { class: ALIGNMENTS[token.attrGet("style")] });

const ALIGNMENTS = { "text-align:right": "end", "text-align:center": "middle" };

/** The elements that a text can have. All others of the parser are shown as their text. */
const OPENING = {
  paragraph_open: plain("p"),
  heading_open: ({ tag }) => element("h4", { class: `level-${Number(tag[1])}` }), // below the page's own h3
  blockquote_open: plain("blockquote"),
  bullet_list_open: plain("ul"),
  ordered_list_open: (token) => element("ol", { start: Number(token.attrGet("start") ?? 1) }),
  list_item_open: plain("li"),
  table_open: plain("table"),
  thead_open: plain("thead"),
  tbody_open: plain("tbody"),
  tr_open: plain("tr"),
  th_open: cell("th"),
  td_open: cell("td"),
  em_open: plain("em"),
  strong_open: plain("strong"),
  s_open: plain("s"),
  link_open: (token) => link(token.attrGet("href")),
};

const LEAVES = {
  softbreak: plain("br"),
  hardbreak: plain("br"),
  hr: plain("hr"),
  code_inline: ({ content }) => element("code", {}, content),
  code_block: ({ content }) => codeBlock(content),
  fence: ({ content, info }) => codeBlock(content, info.trim().split(/\s/)[0]),
  image: (token) => link(token.attrGet("src"), token.content || "image"), // an image would be a request
};

/** The elements of tokens, one for each block. */
function build(tokens) {
  const root = document.createDocumentFragment();
  const open = [root];
  append(tokens, open);
  return [...root.childNodes];
}

function append(tokens, open) {
  for (const token of tokens) {
    const parent = open.at(-1);
    if (token.nesting < 0) open.pop();
    else if (token.nesting > 0) open.push(begin(token, parent, open.length));
    else if (token.type === "inline") append(token.children, open);
    else parent.append(LEAVES[token.type]?.(token) ?? token.content);
  }
}

/** Add the element of an opening token. Returns the element that its content goes into. */
function begin(token, parent, depth) {
  if (depth > DEEPEST || !Object.hasOwn(OPENING, token.type)) return parent;
  const made = OPENING[token.type](token);
  parent.append(token.type === "table_open" ? scrollable(made) : made);
  return made;
}

const scrollable = (table) =>
  element("div", { class: "scroll", tabIndex: 0, attributes: { role: "region", "aria-label": "Table" } }, table);

/** A link to another place, in a tab of its own that learns nothing of this page. */
const link = (address, ...children) =>
  isLink(address)
    ? element("a", { href: address, target: "_blank", rel: "noopener noreferrer nofollow", title: address }, ...children)
    : element("span", {}, ...children);

/** True for addresses that are followed by a click: of the web and of mail. A relative one would be this server's. */
function isLink(address) {
  return /^(?:https?:\/\/|mailto:)/i.test(address) && URL.canParse(address);
}
