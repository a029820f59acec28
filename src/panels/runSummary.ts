/** What the metrics panel is told of a run besides its rows. */
import path from 'node:path';
import { activityWords, totalSteps, type RunView } from '../host/runView';
import { isObject, isString } from '../protocol/guards';
import type { ChangedSetting, RunSummary } from '../protocol/metricsPanel';
import type { RunManifest } from '../protocol/runFiles';

/** Comparing with the defaults is the costly part; a manifest object never changes. */
const settingsOf = new WeakMap<RunManifest, readonly ChangedSetting[]>();

export async function summaryOf(run: RunView): Promise<RunSummary> {
  const { manifest } = run;
  const config = isObject(manifest.config) ? manifest.config : {};
  const activity = activityWords(run);
  return {
    id: run.key,
    name: manifest.name,
    state: run.state,
    createdAt: manifest.createdAt,
    ...(manifest.startedAt === undefined ? {} : { startedAt: manifest.startedAt }),
    ...(manifest.endedAt === undefined ? {} : { endedAt: manifest.endedAt }),
    model: isString(config.model) ? path.basename(config.model) : '',
    method: isString(config.method) ? config.method : '',
    ...(manifest.device === undefined ? {} : { device: manifest.device }),
    ...(activity === undefined ? {} : { activity }),
    ...progressOf(run),
    ...(manifest.best === undefined ? {} : { best: manifest.best }),
    ...(manifest.trainable === undefined ? {} : { trainable: manifest.trainable }),
    ...(manifest.peakRssMb === undefined ? {} : { peakRssMb: manifest.peakRssMb }),
    ...(manifest.peakDeviceMb === undefined ? {} : { peakDeviceMb: manifest.peakDeviceMb }),
    ...(manifest.estimate === undefined ? {} : { estimate: manifest.estimate }),
    ...(manifest.fingerprint === undefined ? {} : { fingerprint: manifest.fingerprint }),
    changedSettings: await changed(manifest),
    ...(manifest.error === undefined ? {} : { error: manifest.error }),
    ...(run.controlDisabledReason === undefined
      ? {}
      : { controlDisabledReason: run.controlDisabledReason }),
    ...(run.unresponsive ? { unresponsive: true } : {}),
  };
}

function progressOf(run: RunView): Pick<RunSummary, 'progress'> {
  const { progress } = run.manifest;
  const total = totalSteps(run);
  if (total === undefined) return {};
  return {
    progress: {
      step: Math.max(progress?.step ?? 0, run.last?.step ?? 0),
      totalSteps: total,
      epoch: Math.max(progress?.epoch ?? 0, run.activity?.epoch ?? 0),
      tokens: progress?.tokens ?? 0,
    },
  };
}

async function changed(manifest: RunManifest): Promise<readonly ChangedSetting[]> {
  let settings = settingsOf.get(manifest);
  if (settings === undefined) {
    // Loaded when first needed: the schema is no part of activation.
    const [{ runConfigSchema }, { changedSettings }] = await Promise.all([
      import('../config/runConfig'),
      import('../config/changedSettings'),
    ]);
    const parsed = runConfigSchema.safeParse(manifest.config);
    settings = parsed.success
      ? changedSettings(parsed.data).map((c) => ({
          key: c.key,
          value: JSON.stringify(c.value),
          default: c.default === undefined ? '' : JSON.stringify(c.default),
        }))
      : [];
    settingsOf.set(manifest, settings);
  }
  return settings;
}
