/** Which configuration a command means that was given without one. No editor types. */

/** The part of the editor's `Uri` that decides. */
interface Address {
  readonly scheme: string;
  readonly path: string;
}

/** Whether this is a `*.dota.json` on the disk. */
export function isConfigFile({ scheme, path }: Address): boolean {
  return scheme === 'file' && path.endsWith('.dota.json');
}

/**
 * The configuration that the user sees. The extension host hears of the active tab at once, and of its
 * text editor only when the file is read and shown; until then it names none, or the one before. So the
 * tab decides, and the text editor where the tab isn't that of one text.
 * @param tab what the active tab shows; undefined where that isn't one text
 * @param editor the document of the active text editor
 * @returns undefined where it is no configuration
 */
export function configInView<T extends Address>(
  tab: T | undefined,
  editor: T | undefined,
): T | undefined {
  const shown = tab ?? editor;
  return shown !== undefined && isConfigFile(shown) ? shown : undefined;
}
