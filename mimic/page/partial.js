// Markdown that is not complete yet, while an answer arrives.

/**
 * A text without the markup at its end that the next characters may complete, and with the closing signs that it still
 * lacks. Without them, signs such as `**` would be seen for a moment, and a paragraph would become a list or a table.
 */
export function withoutPartialMarkup(text) {
  const { open, end } = fences(text);
  if (open) return withoutClosingFence(text, open);
  if (end > text.length) return text; // its last line closes a fence
  const held = withoutTable(withoutLine(withoutLink(text)));
  const start = Math.max(end, startOfLastLine(held));
  return held.slice(0, start) + closed(held.slice(start));
}

const FENCE = /^[ \t>]*(?:(?:[-+*]|\d{1,9}[.)])[ \t]+)*(`{3,}|~{3,})([^\n]*)$/;

/** The fence that is open at the end: its signs and the position of its line. `end` is the end of the last closed one. */
function fences(text) {
  let open = null;
  let position = 0;
  let end = 0;
  for (const line of text.split("\n")) {
    const [, signs, info] = line.match(FENCE) ?? [];
    const isOpening = !open && signs && !(signs[0] === "`" && info.includes("`"));
    const isClosing = open && signs?.startsWith(open.signs) && !info.trim();
    if (isOpening) open = { signs, position };
    position += line.length + 1;
    if (isClosing) [open, end] = [null, position];
  }
  return { open, end };
}

/** The language of a block is shown when it is complete; signs at its end may become the closing fence. */
function withoutClosingFence(text, { signs, position }) {
  if (!text.includes("\n", position)) return text.slice(0, position);
  const last = text.slice(text.lastIndexOf("\n") + 1).trim();
  return last && signs.startsWith(last) ? text.slice(0, text.lastIndexOf("\n") + 1) : text;
}

/** Signs at the beginning of a line: of a heading, a list, a quotation, a rule, a fence, a table, a definition. */
const ONLY_SIGNS = /^(?:[ \t>#\-+*=_~`|:]*|(?:[ \t>]|[-+*][ \t])*\d{1,9}(?:[.)][ \t#\-+*=_~`|:]*)?| {0,3}\[[^\]\n]{1,99}\]:.*)$/;

function withoutLine(text) {
  const start = text.lastIndexOf("\n") + 1;
  return ONLY_SIGNS.test(text.slice(start)) ? text.slice(0, start) : text;
}

/** The first row of a table waits for the line below it, which makes it a table. */
function withoutTable(text) {
  const lines = text.split("\n");
  let rows = lines.at(-1) === "" ? 1 : 0;
  const end = rows;
  while (/^[ \t]*\|/.test(lines.at(-1 - rows) ?? "")) rows++;
  const isTable = rows - end > 1 && /^[\s|:-]+$/.test(lines.at(1 - rows) ?? "");
  return rows === end || isTable ? text : lines.slice(0, -rows).map((line) => `${line}\n`).join("");
}

const BLOCK_BEGINS = /\n(?=[ \t]*(?:[-+*>|]|#{1,6}|\d{1,9}[.)])[ \t])/g;

/** The position of the last paragraph, item, heading, or cell. */
function startOfLastLine(text) {
  const paragraph = text.lastIndexOf("\n\n") + 1;
  const begins = [...text.slice(paragraph).matchAll(BLOCK_BEGINS)];
  const start = paragraph + (begins.at(-1)?.index ?? -1) + 1;
  const last = text.slice(start);
  return /^[ \t]*\|/.test(last) ? start + last.lastIndexOf("|") + 1 : start;
}

const PARTIAL_LINK = /!?\[[^[\]\n]{0,200}(?:\](?:\([^\s()]{0,2000}(?:\s+(?:"[^"\n]{0,200}"?)?)?)?)?$|!$/;
const PARTIAL_ADDRESS = /<(?:[a-z][a-z0-9+.-]{0,20}(?::[^\s<>]{0,2000})?)?$/i;
const PARTIAL_ENTITY = /&(?:#?\w{0,30})$/;

function withoutLink(text) {
  const start = text.lastIndexOf("\n") + 1;
  const partial = [PARTIAL_LINK, PARTIAL_ADDRESS, PARTIAL_ENTITY];
  return text.slice(0, start) + partial.reduce((line, part) => line.replace(part, ""), text.slice(start));
}

/** The line with closing signs for its open code and emphasis; open signs at its end are left out. */
function closed(line) {
  const open = [];
  let position = 0;
  while (position < line.length) {
    const sign = line[position];
    if (sign === "\\") {
      if (position + 1 === line.length) line = line.slice(0, position);
      position += 2;
    } else if (sign === "`") {
      const signs = run(line, position);
      const end = closingCode(line, position + signs.length, signs);
      if (end < 0) return closedCode(line, position, signs).trimEnd() + closing(open);
      position = end;
    } else if ("*_~".includes(sign)) {
      const signs = run(line, position);
      const [before, after] = [line[position - 1], line[position + signs.length]];
      const rest = flanks(after, before) ? close(open, signs) : signs.length;
      if (after === undefined && rest) line = line.slice(0, line.length - rest);
      else if (rest && opens(signs, before, after)) open.push({ sign, length: rest });
      position += signs.length;
    } else position++;
  }
  const trimmed = line.trimEnd(); // closing signs after a space close nothing
  return open.length ? trimmed + closing(open) : line;
}

/** The same signs from a position on. */
function run(line, position) {
  let end = position + 1;
  while (line[end] === line[position]) end++;
  return line.slice(position, end);
}

/** The position after the code that these signs close, or -1. */
function closingCode(line, from, signs) {
  for (let at = line.indexOf("`", from); at >= 0; at = line.indexOf("`", at)) {
    const found = run(line, at);
    at += found.length;
    if (found === signs) return at;
  }
  return -1;
}

function closedCode(line, position, signs) {
  const code = line.slice(position + signs.length).replace(/`+$/, "");
  return line.slice(0, position) + (code.trim() ? signs + code + signs : "");
}

/** Close what these signs close. Returns the number of signs that close nothing. */
function close(open, signs) {
  let rest = signs.length;
  while (rest && open.at(-1)?.sign === signs[0]) {
    const innermost = open.at(-1);
    const count = Math.min(rest, innermost.length);
    innermost.length -= count;
    rest -= count;
    if (!innermost.length) open.pop();
  }
  return rest;
}

function opens(signs, before, after) {
  if (!flanks(before, after) || (signs[0] === "~" && signs.length !== 2)) return false;
  return signs[0] !== "_" || !/[\p{L}\p{N}]/u.test(before ?? "");
}

/** True for signs that belong to the text on their inner side (CommonMark, left- and right-flanking runs). */
function flanks(outer = " ", inner = " ") {
  return !/\s/.test(inner) && (!/[\p{P}\p{S}]/u.test(inner) || /[\s\p{P}\p{S}]/u.test(outer));
}

const closing = (open) => open.toReversed().map(({ sign, length }) => sign.repeat(length)).join("");
