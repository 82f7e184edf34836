// From a YAML text and variables to one tree of values. Which keys exist and what they hold is the business of
// config.ts; here nothing is known about them but which ones are secrets.

import { LineCounter, parseDocument } from 'yaml';

export type Path = readonly (string | number)[];

/** Text that did not stand in the file as it is: what it means depends on what its key expects. */
export class Given {
  readonly text: string;
  /** What to show in its place in messages; absent when the text itself may be shown. */
  readonly shownAs: string | undefined;

  constructor(text: string, shownAs?: string) {
    this.text = text;
    this.shownAs = shownAs;
  }
}

export interface Fault {
  path: Path;
  sentence: string;
}

export interface Tree {
  root: unknown;
  faults: Fault[];
  /** Which variable set what is at a path, by the path's text. */
  variables: Map<string, string>;
}

export interface Environment {
  readonly [name: string]: string | undefined;
}

/** A path as people write it: `components[0].address`. */
export function pathText(path: Path): string {
  let text = '';
  for (const step of path) text += typeof step === 'number' ? `[${step}]` : text === '' ? step : `.${step}`;
  return text;
}

/** The values of a YAML text; a string says what is wrong with it. Never quotes the text, because it may hold secrets. */
export function readYaml(text: string): { value: unknown } | string {
  try {
    const lines = new LineCounter();
    const document = parseDocument(text, { prettyErrors: false, lineCounter: lines });
    const problem = document.errors[0] ?? document.warnings[0];
    if (problem !== undefined) {
      const { line, col } = lines.linePos(problem.pos[0]);
      return `line ${line}, column ${col}: ${problem.message.split(/[:"]/)[0]!.trim()}`;
    }
    return { value: document.toJS() ?? undefined };
  } catch {
    // Too deep, too many aliases, or an alias within its own anchor.
    return 'its nesting or its aliases cannot be followed';
  }
}

/** A `${VAR}` or `${VAR:-default}` of the file, or, without a name, an escaped one. */
export interface Reference {
  source: string;
  name: string | undefined;
  fallback: string | undefined;
}

/**
 * Replaces references by marks, because YAML would see the braces: `{ path: ${DIR} }` is none without. What a variable
 * holds can so never become YAML of its own. `$${VAR}` stands for a plain `${VAR}`.
 */
export function markReferences(text: string): { text: string; references: Reference[] } {
  const references: Reference[] = [];
  const mark = (source: string, name?: string, fallback?: string) => {
    references.push({ source, name, fallback });
    // As long as before, so that places in the text stay the same.
    return `${OPEN}${String(references.length - 1).padEnd(source.length - 2, '_')}${CLOSE}`;
  };
  const marked = text
    .replaceAll(/[\u{FDD0}\u{FDD1}]/gu, '\u{FFFD}')
    .replaceAll(
      /\$\$\{[^}\n]*\}|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}\n]*))?\}/g,
      (source: string, name: string | undefined, fallback: string | undefined) => mark(source, name, fallback),
    );
  return { text: marked, references };
}

/** Fills in the references in every text value below. */
export function substitute(tree: Tree, references: readonly Reference[], env: Environment): void {
  function visit(value: unknown, path: Path): unknown {
    if (path.length > MAX_DEPTH) {
      tree.faults.push({ path: path.slice(0, 3), sentence: `is nested deeper than ${MAX_DEPTH} levels` });
      return undefined;
    }
    if (typeof value === 'string') return text(value, path);
    if (Array.isArray(value)) return value.map((item, i) => visit(item, [...path, i]));
    if (!isBlock(value)) return value;
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => {
        const name = key.replaceAll(MARK, (_, index: string) => references[Number(index)]!.source);
        return [name, visit(item, [...path, name])];
      }),
    );
  }
  function text(value: string, path: Path): unknown {
    if (value.includes('${')) {
      tree.faults.push({ path, sentence: 'expected a name, and perhaps :- and a default, in the braces after $' });
    }
    const named: string[] = [];
    const result = value.replaceAll(MARK, (_, index: string) => {
      const { source, name, fallback } = references[Number(index)]!;
      if (name === undefined) return source.slice(1);
      named.push(name);
      const found = Object.hasOwn(env, name) ? env[name] : undefined;
      // As in a shell: a default also stands in for an empty variable.
      if (fallback !== undefined) return found === undefined || found === '' ? fallback : found;
      if (found === undefined) tree.faults.push({ path, sentence: `the variable ${name} is not set` });
      return found ?? '';
    });
    return named.length === 0 ? result : new Given(result, `what \${${named.join('}, ${')}} gives`);
  }
  tree.root = visit(tree.root, []);
}

/**
 * Sets what `DAYBOOK__BLOCK__KEY` variables say. Variables with one underscore are none of ours: Kubernetes makes
 * `DAYBOOK_PORT` and the like for a service that is called daybook.
 */
export function overlay(tree: Tree, env: Environment): void {
  const names = Object.keys(env).filter((name) => name.startsWith('DAYBOOK__') && env[name] !== undefined);
  // A variable for a whole block comes before those for its keys.
  const depth = (name: string) => name.split('__').length;
  for (const name of names.sort((a, b) => depth(a) - depth(b) || (a < b ? -1 : 1))) {
    const steps = name.split('__').slice(1);
    if (!steps.every((step) => /^[A-Z0-9]+(_[A-Z0-9]+)*$/.test(step))) {
      const sentence = 'expected a name as DAYBOOK__BLOCK__KEY in capital letters';
      tree.faults.push({ path: [name], sentence });
      continue;
    }
    const problem = set(tree, steps, new Given(env[name]!), name);
    if (problem !== undefined) tree.faults.push({ path: [name], sentence: problem });
  }
}

function set(tree: Tree, steps: readonly string[], value: Given, variable: string): string | undefined {
  const path: (string | number)[] = [];
  tree.root ??= {};
  let holder = opened(tree.root);
  for (const [i, step] of steps.entries()) {
    const last = i === steps.length - 1;
    let key: string | number = step.toLowerCase();
    if (Array.isArray(holder)) {
      key = Number(step);
      if (!/^[0-9]+$/.test(step)) return `expected a number from 0 for an entry of ${pathText(path)}, found ${step}`;
      if (key > holder.length) return `${pathText(path)} has ${holder.length} entries, so the next is ${holder.length}`;
    } else if (!isBlock(holder)) return `${pathText(path)} has no keys of its own`;
    path.push(key);
    const block = holder as Record<string | number, unknown>;
    if (last) {
      put(block, key, value);
      const twin = typeof key !== 'string' ? undefined : key.endsWith('_file') ? key.slice(0, -5) : `${key}_file`;
      // What a variable says about a secret replaces both ways of giving it in the file.
      if (twin !== undefined && !tree.variables.has(pathText([...path.slice(0, -1), twin]))) delete block[twin];
      tree.variables.set(pathText(path), variable);
      return undefined;
    }
    const next = Object.hasOwn(block, key) ? opened(block[key]) : undefined;
    put(block, key, next ?? (/^[0-9]+$/.test(steps[i + 1]!) ? [] : {}));
    holder = block[key];
  }
  return undefined;
}

/** Replaces `connection_string_file` by what the file holds, and so on for each path of a secret. */
export function readSecrets(tree: Tree, secrets: readonly Path[], read: (path: string) => string): void {
  for (const path of secrets) {
    const key = String(path.at(-1));
    const fileKey = `${key}_file`;
    const filePath = [...path.slice(0, -1), fileKey];
    let holder: unknown = tree.root;
    for (const step of path.slice(0, -1)) holder = isBlock(holder) ? opened(holder[step]) : undefined;
    if (!isBlock(holder) || !Object.hasOwn(holder, fileKey)) continue;
    const file = holder[fileKey] instanceof Given ? (holder[fileKey] as Given).text : holder[fileKey];
    delete holder[fileKey];
    if (Object.hasOwn(holder, key)) {
      tree.faults.push({ path: filePath, sentence: `expected either this or ${key}, found both` });
    } else if (typeof file !== 'string' || file === '') {
      tree.faults.push({ path: filePath, sentence: `expected the path of a file, found ${shown(file)}` });
    } else {
      try {
        holder[key] = new Given(read(file).replace(/\r?\n$/, ''), 'what the file holds');
      } catch (thrown) {
        tree.faults.push({ path: filePath, sentence: `the file ${file} cannot be read: ${reason(thrown)}` });
      }
    }
  }
}

/** A value as messages show it: short, on one line, without passwords in URLs. */
export function shown(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (value instanceof Given) return value.shownAs ?? shown(value.text);
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (isBlock(value)) return 'keys and values';
  if (typeof value !== 'string') return String(value);
  if (value === '') return 'an empty text';
  const text = value.replace(/(:\/\/[^\s/:@]*):[^\s/@]+@/g, '$1:(secret)@');
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 79)}…` : text);
}

/** A given text is YAML where a block or a list is expected. */
export function opened(value: unknown): unknown {
  if (!(value instanceof Given)) return value;
  const yaml = readYaml(value.text);
  return typeof yaml === 'object' && typeof yaml.value === 'object' ? yaml.value : value;
}

export function isBlock(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Given);
}

/** Why reading a file failed, without the file's name. */
export function reason(thrown: unknown): string {
  const code = (thrown as NodeJS.ErrnoException)?.code;
  if (code === 'ENOENT') return 'it does not exist';
  if (code === 'EACCES') return 'permission denied';
  if (code === 'EISDIR') return 'it is a folder';
  return code ?? 'unknown reason';
}

/** Also for a key such as `__proto__`. */
function put(block: Record<string | number, unknown>, key: string | number, value: unknown): void {
  Object.defineProperty(block, key, { value, writable: true, enumerable: true, configurable: true });
}

const MAX_DEPTH = 16;
// Code points that are no characters, and so in nobody's text.
const OPEN = '\u{FDD0}';
const CLOSE = '\u{FDD1}';
const MARK = new RegExp(`${OPEN}(\\d+)_*${CLOSE}`, 'g');
