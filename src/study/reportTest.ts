/** What the report says of the test splits: when each was opened, how often, and which were replaced. */
import { designHash } from './design';
import type { StudyResults } from './results';
import type { TestOpening } from './resultsFile';

const rule =
  'Each main run answers the test split of its task once, when it is trained; all learning rates are chosen before the first main run. What decides the runs of a task can be changed after that only with a fresh test split.';

export function testText({ openings, study, complete }: StudyResults): string {
  const tasks = Object.keys(study.tasks).filter((task) => study.tasks[task]?.test !== undefined);
  if (tasks.length === 0) return 'The study has no test split.';
  if (openings.length === 0) return `${rule} None has been used yet.`;
  const designs = new Map(tasks.map((task) => [task, designHash(study, task)]));
  const current = new Set(designs.values());
  const shown = complete
    ? 'The accuracies of the methods above are of the test splits.'
    : 'Test scores are withheld until all runs are done: the accuracies above are of the validation split.';
  const lines = tasks.map((task) => {
    const own = openings.filter(({ design }) => design === designs.get(task));
    const earlier = openings.filter((one) => one.task === task && !current.has(one.design));
    return `- ${task}: ${ownText(own)}${earlierText(earlier, own.length > 0)}`;
  });
  return `${rule} ${shown}\n\n${lines.join('\n')}`;
}

function ownText(openings: readonly TestOpening[]): string {
  if (openings.length === 0) return 'its test split has not been used yet.';
  // Under one design as well, one file may have taken another's place.
  const hashes = [...new Set(openings.map(({ dataHash }) => dataHash))];
  const texts = hashes.map((hash, i) => {
    const split = i === 0 ? 'its test split' : 'another file in its place';
    return `${split} was opened ${usedText(openings.filter((one) => one.dataHash === hash))}`;
  });
  return `${texts.join('; ')}.`;
}

function earlierText(openings: readonly TestOpening[], replaced: boolean): string {
  if (openings.length === 0) return '';
  const splits = new Set(openings.map(({ dataHash }) => dataHash)).size;
  const [subject, scores] =
    splits === 1
      ? ['An earlier test split of it was', 'its scores are']
      : [`${splits} earlier test splits of it were`, 'their scores are'];
  const after = replaced
    ? 'When that was changed, a fresh split was taken'
    : 'Now that this is changed, a fresh split is needed';
  return ` ${subject} opened ${usedText(openings)}, under another design of the runs on this task. ${after}; ${scores} not shown.`;
}

/** `for 40 runs between … and …, once for each`. */
function usedText(openings: readonly TestOpening[]): string {
  const runs = new Set(openings.map(({ key }) => key)).size;
  const again = openings.length - runs;
  const dates = openings.map(({ at }) => at).sort();
  const repeated =
    again === 0
      ? ''
      : `, and ${again} time${again === 1 ? '' : 's'} again after an interruption, in a repetition of the whole study, or to score the same answers by a mended rule`;
  return `for ${runs} run${runs === 1 ? '' : 's'} between ${dates[0] ?? ''} and ${dates.at(-1) ?? ''}, once for each${repeated}`;
}
