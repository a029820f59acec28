/** Every command, setting, view and context key by name: the manifest repeats them, held by a test. */

export const commandIds = {
  fineTune: 'dota.fineTune',
  openMetrics: 'dota.openMetrics',
  openExplorer: 'dota.openExplorer',
  previewDataset: 'dota.previewDataset',
  decomposeLayer: 'dota.decomposeLayer',
  decomposeModel: 'dota.decomposeModel',
  addModelFolder: 'dota.addModelFolder',
  removeModelFolder: 'dota.removeModelFolder',
  refreshModels: 'dota.refreshModels',
  refreshRuns: 'dota.refreshRuns',
  runStop: 'dota.run.stop',
  runPause: 'dota.run.pause',
  runResume: 'dota.run.resume',
  runResumeSmaller: 'dota.run.resumeSmaller',
  runForceStop: 'dota.run.forceStop',
  runTakeControl: 'dota.run.takeControl',
  runOpenPanel: 'dota.run.openPanel',
  runReveal: 'dota.run.reveal',
  runShowLog: 'dota.run.showLog',
  runExport: 'dota.run.export',
  runDuplicate: 'dota.run.duplicate',
  runRename: 'dota.run.rename',
  runNotes: 'dota.run.notes',
  runDelete: 'dota.run.delete',
  compareMethods: 'dota.compareMethods',
  runEvaluate: 'dota.run.evaluate',
  runShowEvaluations: 'dota.run.showEvaluations',
  tryPrompt: 'dota.tryPrompt',
  profileStep: 'dota.profileStep',
  doctor: 'dota.doctor',
  showLog: 'dota.showLog',
} as const;
export type CommandId = (typeof commandIds)[keyof typeof commandIds];

export const viewIds = { models: 'dota.models', runs: 'dota.runs' } as const;

export const panelTypes = {
  metrics: 'dota.metrics',
  explorer: 'dota.explorer',
  compare: 'dota.compare',
  prompt: 'dota.prompt',
  preview: 'dota.preview',
} as const;

/** Context keys that `when` clauses of the manifest use. */
export const contextKeys = {
  hasRuns: 'dota.hasRuns',
  /** Number of runs that a trainer is working on now. */
  runningCount: 'dota.runningCount',
  modelsRead: 'dota.modelsRead',
  hasModels: 'dota.hasModels',
  nodeMissing: 'dota.nodeMissing',
} as const;

export const settingKeys = {
  nodePath: 'dota.nodePath',
  onWindowClose: 'dota.run.onWindowClose',
  notifyOnEnd: 'dota.run.notifyOnEnd',
  tensorboard: 'dota.run.tensorboard',
  modelFolders: 'dota.models.folders',
  decomposeRank: 'dota.decompose.rank',
  decomposeCores: 'dota.decompose.cores',
} as const;
