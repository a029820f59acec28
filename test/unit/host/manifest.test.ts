import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  commandIds,
  contextKeys,
  panelTypes,
  settingKeys,
  viewIds,
} from '../../../src/commands/ids';

interface Menu {
  command: string;
  when?: string;
}
interface Manifest {
  activationEvents: string[];
  capabilities: { untrustedWorkspaces: { restrictedConfigurations: string[] } };
  contributes: {
    commands: { command: string; title: string; category: string; enablement?: string }[];
    menus: Record<string, Menu[]>;
    views: Record<string, { id: string }[]>;
    viewsWelcome: { view: string; when: string; contents: string }[];
    configuration: {
      title: string;
      properties: Record<string, { default: unknown; markdownDescription: string; scope: string }>;
    }[];
    walkthroughs: {
      steps: { media: { markdown: string }; completionEvents: string[]; description: string }[];
    }[];
  };
}

const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as Manifest;
const { contributes } = manifest;

function sources(folder: string): string {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => readFileSync(path.join(folder, file), 'utf8'))
    .join('\n');
}
const hostSources = ['src/host', 'src/commands', 'src/views', 'src/panels']
  .map(sources)
  .concat(readFileSync('src/extension.ts', 'utf8'))
  .join('\n');

describe('manifest and code agree', () => {
  it('on commands, each registered exactly once', () => {
    expect(contributes.commands.map((c) => c.command).sort()).toEqual(
      Object.values(commandIds).sort(),
    );
    for (const [name, id] of Object.entries(commandIds)) {
      const registrations = hostSources.match(
        new RegExp(`\\bregister\\(\\s*commandIds\\.${name}\\b`, 'g'),
      );
      expect(registrations ?? [], id).toHaveLength(1);
    }
  });

  it('on settings, each with a default, help and a scope', () => {
    const properties = Object.assign(
      {},
      ...contributes.configuration.map((c) => c.properties),
    ) as Record<string, { default: unknown; markdownDescription: string; scope: string }>;
    expect(Object.keys(properties).sort()).toEqual(Object.values(settingKeys).sort());
    for (const [key, property] of Object.entries(properties)) {
      expect(property, key).toHaveProperty('default');
      expect(property.markdownDescription.length, key).toBeGreaterThan(20);
      expect(property.scope, key).toBeTruthy();
    }
  });

  it('on views, panels and context keys', () => {
    expect(
      Object.values(contributes.views)
        .flat()
        .map((v) => v.id)
        .sort(),
    ).toEqual(Object.values(viewIds).sort());
    for (const type of Object.values(panelTypes))
      expect(manifest.activationEvents).toContain(`onWebviewPanel:${type}`);
    const clauses = JSON.stringify([contributes.menus, contributes.viewsWelcome]);
    const used = new Set(
      clauses.match(/\bdota\.(?:has\w+|runningCount|modelsRead|nodeMissing)\b/g),
    );
    expect([...used].sort()).toEqual(Object.values(contextKeys).sort());
  });
});

describe('manifest', () => {
  it('refers only to commands that exist', () => {
    const known = new Set<string>(Object.values(commandIds));
    for (const menu of Object.values(contributes.menus).flat())
      expect(known, menu.command).toContain(menu.command);
    const links = JSON.stringify([contributes.viewsWelcome, contributes.walkthroughs]).matchAll(
      /command:(dota\.[\w.]+)/g,
    );
    for (const [, id] of links)
      expect(known.has(id!) || /^dota\.\w+\.focus$/.test(id!), id).toBe(true);
  });

  it('starts processes only in trusted workspaces', () => {
    const starts = [
      commandIds.fineTune,
      commandIds.decomposeLayer,
      commandIds.decomposeModel,
      commandIds.runResume,
      commandIds.runEvaluate,
      commandIds.tryPrompt,
      commandIds.doctor,
      commandIds.profileStep,
      commandIds.compareMethods,
    ];
    for (const id of starts)
      expect(contributes.commands.find((c) => c.command === id)?.enablement, id).toBe(
        'isWorkspaceTrusted',
      );
    expect(manifest.capabilities.untrustedWorkspaces.restrictedConfigurations).toContain(
      settingKeys.nodePath,
    );
  });

  it('keeps the conventions of the marketplace', () => {
    for (const command of contributes.commands) {
      expect(command.category).toBe('DoTA');
      expect(command.title).toMatch(/^[A-Z]/);
    }
    const [walkthrough] = contributes.walkthroughs;
    expect(walkthrough!.steps.length).toBeLessThanOrEqual(6);
    for (const step of walkthrough!.steps) {
      expect(readFileSync(step.media.markdown, 'utf8').length).toBeGreaterThan(100);
      expect(step.completionEvents.length).toBeGreaterThan(0);
      expect(step.description).toContain('](command:');
    }
    expect(manifest.activationEvents).not.toContain('*');
    expect(manifest.activationEvents).not.toContain('onStartupFinished');
  });
});
