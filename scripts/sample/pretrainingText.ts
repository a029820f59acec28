/**
 * The generator of the pretraining text: short documents about a small world. They give the model
 * number facts, two-step chains, story bookkeeping and plain facts, and show every token that the
 * fine-tuning task emits (`The answer is 15`, the end token) in contexts of their own. The task's
 * questions about sums never occur here, and no two-step problem of the test split is worked out.
 */
import { drawChain } from './problems';
import { promptOf } from './prompt';
import type { Random } from './random';
import { amount, countables, drawSum, largestNumber, people, sumSentence, things } from './world';

/** One line of text. */
type Sentence = (random: Random) => string;

const article = (noun: string): string => (/^[aeiou]/.test(noun) ? `an ${noun}` : `a ${noun}`);
const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

const fact: Sentence = (random) => {
  const { name, kind, colour, place } = random.pick(things);
  return random.pick([
    `${capital(article(name))} is ${article(kind)}.`,
    `The ${name} is ${colour}.`,
    `The ${name} is in the ${place}.`,
    `There is ${article(name)} in the ${place}.`,
  ]);
};

const counting: Sentence = (random) => {
  const start = random.integer(0, largestNumber - 5);
  const up = Array.from({ length: 6 }, (_, i) => start + i);
  return random.next() < 0.5 ? `Up: ${up.join(' ')}.` : `Down: ${up.reverse().join(' ')}.`;
};

/** A list and the same list again: the model learns to copy numbers from earlier text. */
const repetition: Sentence = (random) => {
  const numbers = Array.from({ length: random.integer(2, 6) }, () =>
    random.integer(0, largestNumber),
  ).join(' ');
  return `List: ${numbers}. Again: ${numbers}.`;
};

/**
 * A story of one or two events and its outcome. The sums behind it stand after each event, or all
 * together before the outcome, or are left out.
 */
function story(random: Random): string {
  const [person, other] = random.shuffle([...people]);
  const what = random.pick(countables);
  const chain = drawChain(random, random.integer(1, 2), 'test');
  const told = random.weighted([
    [0.3, 'after each event'],
    [0.4, 'at the end'],
    [0.3, 'not at all'],
  ] as const);
  const lines = [`${person} has ${amount(chain[0]!.left, what)}.`];
  for (const sum of chain) {
    lines.push(
      sum.operation === 'plus'
        ? random.pick([
            `${person} gets ${amount(sum.right, what, 'more ')}.`,
            `${other} gives ${person} ${amount(sum.right, what)}.`,
            `${person} finds ${amount(sum.right, what)}.`,
          ])
        : random.pick([
            `${person} loses ${amount(sum.right, what)}.`,
            `${person} gives away ${amount(sum.right, what)}.`,
            `${person} gives ${other} ${amount(sum.right, what)}.`,
          ]),
    );
    if (told === 'after each event') lines.push(sumSentence(sum));
  }
  if (told === 'at the end') lines.push(...chain.map(sumSentence));
  lines.push(`Now ${person} has ${amount(chain[chain.length - 1]!.result, what)}.`);
  return lines.join(' ');
}

/** Sums that have nothing to do with each other, or that continue from the last result. */
function sums(random: Random): string[] {
  const count = random.integer(3, 9);
  const chained = random.next() < 0.4;
  const drawn = chained
    ? drawChain(random, count, 'test')
    : Array.from({ length: count }, () => drawSum(random));
  return drawn.map(sumSentence);
}

/** A question about the world (never about a sum) with an answer in the task's closing words. */
function question(random: Random): { asked: string; answered: string } {
  const thing = random.pick(things);
  const number = random.integer(1, largestNumber - 1);
  const what = random.pick(countables);
  return random.pick([
    {
      asked: `What is ${article(thing.name)}?`,
      answered: `${capital(article(thing.name))} is ${article(thing.kind)}. The answer is ${thing.kind}`,
    },
    {
      asked: `What colour is the ${thing.name}?`,
      answered: `The ${thing.name} is ${thing.colour}. The answer is ${thing.colour}`,
    },
    {
      asked: `Where is the ${thing.name}?`,
      answered: `The ${thing.name} is in the ${thing.place}. The answer is ${thing.place}`,
    },
    {
      asked: `Compute the number after ${number}.`,
      answered: `${number} ${number + 1}. The answer is ${number + 1}`,
    },
    {
      asked: `Which number comes after ${number}?`,
      answered: `${number} ${number + 1}. The answer is ${number + 1}`,
    },
    {
      asked: `Which number comes before ${number}?`,
      answered: `${number} ${number - 1}. The answer is ${number - 1}`,
    },
    {
      asked: `There are ${amount(number, what)} in the ${thing.place}. How many ${what} are there now?`,
      answered: `${amount(number, what)}. The answer is ${number}`,
    },
    {
      asked: `The ${thing.name} does have ${amount(number, what)}. How many?`,
      answered: `${amount(number, what)}. The answer is ${number}`,
    },
  ]);
}

/** One document, without begin and end tokens. */
export function drawDocument(random: Random): string {
  return random.weighted<() => string>([
    // Lines or running text: the end of a sentence is one token before a line break, another before
    // a space.
    [0.4, () => sums(random).join(random.pick(['\n', ' ']))],
    [0.2, () => [story(random), ...sums(random).slice(0, random.integer(0, 3))].join('\n')],
    [0.08, () => story(random)],
    [0.06, () => Array.from({ length: random.integer(2, 6) }, () => fact(random)).join('\n')],
    [0.03, () => [counting(random), counting(random)].join('\n')],
    [0.06, () => [repetition(random), repetition(random)].join(random.pick(['\n', ' ']))],
    [
      0.06,
      () => {
        const { asked, answered } = question(random);
        return `${asked} ${answered}`;
      },
    ],
    [
      0.1,
      () => {
        const { asked, answered } = question(random);
        return promptOf(random.pick(['alpaca', 'llm-adapters'] as const), asked) + answered;
      },
    ],
  ])();
}

/**
 * `count` distinct documents.
 * @param exclude documents that must not occur (the training text, when validation text is drawn)
 */
export function drawDocuments(random: Random, count: number, exclude?: Set<string>): string[] {
  const seen = new Set<string>();
  while (seen.size < count) {
    const document = drawDocument(random);
    if (exclude?.has(document) !== true) seen.add(document);
  }
  return [...seen];
}
