/** The Chromium that drives panels and editor: from npm, or the system's where that one can't start. */
import chromiumPackage from '@sparticuz/chromium';
import { existsSync } from 'node:fs';
import { chromium, type Browser } from 'playwright-core';

const system = '/usr/bin/chromium';

export async function startChromium(): Promise<Browser> {
  let executablePath: string;
  try {
    executablePath = await chromiumPackage.executablePath();
  } catch (error) {
    if (!existsSync(system)) throw error;
    executablePath = system;
  }
  return chromium.launch({
    executablePath,
    timeout: 120_000,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--disable-dev-shm-usage',
      '--force-color-profile=srgb',
    ],
  });
}
