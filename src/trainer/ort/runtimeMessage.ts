/** What onnxruntime says, without where in its own sources it says it. */

/** `/path/of/the/build/file.cc:123 `, on Windows with a drive and backslashes. */
const sourcePlace = /(?:[A-Za-z]:)?[/\\][\w./\\+-]+\.(?:cc|cpp|cxx|cu|h|hpp|mm):\d+\s+/;
/** GCC and Clang name the function with its parameters, MSVC by its name alone. */
const microsoftName = /^[\w:~]*(?:<lambda_\w+>[\w:~]*)?(?: ?\(\))?/;
/** What may follow the parameters; template arguments come in brackets. */
const qualifiers = /^(?:\s+(?:const|mutable|noexcept|&&?|\[[^\]]*\](?!\w)))*/;

/**
 * @returns the first line of the message that follows the source place, or the first line where there
 *   is none: what comes after is the runtime's own trace
 */
export function runtimeMessage(text: string): string {
  const line = text.split('\n', 1)[0] as string;
  const place = sourcePlace.exec(line);
  if (!place) return line;
  const rest = line.slice(place.index + place[0].length);
  const message = rest.slice(functionLength(rest, place[0].includes('\\'))).trim();
  return message === '' ? line : message;
}

/** Characters of the function's name at the start of `text`; 0 where none is recognised. */
function functionLength(text: string, microsoft: boolean): number {
  const length = microsoft
    ? (microsoftName.exec(text) as RegExpExecArray)[0].length
    : lengthWithParameters(text);
  // All of the runtime's functions are in a namespace; anything else is the message itself.
  return text.slice(0, length).includes('::') ? length : 0;
}

function lengthWithParameters(text: string): number {
  let depth = 0;
  let angles = 0;
  let parameters = false;
  for (let i = 0; i < text.length; i++) {
    const character = text[i] as string;
    if (character === '(' || character === '{') depth += 1;
    else if (character === ')' || character === '}') {
      depth -= 1;
      parameters ||= depth === 0 && angles === 0;
    } else if (depth === 0 && character === '<') angles += 1;
    else if (depth === 0 && character === '>') angles = Math.max(0, angles - 1);
    else if (character === ' ' && depth === 0 && angles === 0 && parameters) {
      i += (qualifiers.exec(text.slice(i)) as RegExpExecArray)[0].length;
      // A lambda inside of the function is part of its name.
      if (!text.startsWith('::', i)) return i;
    }
  }
  return 0;
}
