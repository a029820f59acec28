import { describe, expect, it } from 'vitest';
import { matchPattern, selectModules, type TargetSelection } from '../../../src/adapters/targets';
import type { DecoderConfig } from '../../../src/models/modelConfig';
import { tinyConfig } from '../engine/tiny';

const config: DecoderConfig = { ...tinyConfig, numLayers: 12 };
const select = (selection: TargetSelection) =>
  selectModules(config, selection).map(({ path }) => path);

describe('target modules', () => {
  it('match a list by whole path or by suffix after a dot', () => {
    expect(select({ target_modules: ['q_proj'] })).toHaveLength(12);
    expect(select({ target_modules: ['model.layers.3.mlp.up_proj'] })).toEqual([
      'model.layers.3.mlp.up_proj',
    ]);
    expect(select({ target_modules: ['self_attn.o_proj', 'mlp.gate_proj'] })).toHaveLength(24);
    // "proj" is the end of every name but of no path component.
    expect(() => select({ target_modules: ['proj'] })).toThrow();
  });

  it('match a string as a regular expression on the whole path', () => {
    expect(select({ target_modules: 'model\\.layers\\.[01]\\.self_attn\\.[qk]_proj' })).toEqual([
      'model.layers.0.self_attn.q_proj',
      'model.layers.0.self_attn.k_proj',
      'model.layers.1.self_attn.q_proj',
      'model.layers.1.self_attn.k_proj',
    ]);
    // Alternatives are anchored too.
    expect(() => select({ target_modules: 'q_proj|k_proj' })).toThrow();
    expect(select({ target_modules: '.*q_proj|.*k_proj' })).toHaveLength(24);
  });

  it('take all linear layers of the blocks for "all-linear"', () => {
    expect(select({ target_modules: 'all-linear' })).toHaveLength(12 * 7);
  });

  it('leave out what exclude_modules names, in both forms', () => {
    expect(
      select({
        target_modules: 'all-linear',
        exclude_modules: ['down_proj', 'model.layers.0.mlp.up_proj'],
      }),
    ).toHaveLength(12 * 6 - 1);
    expect(
      select({ target_modules: ['q_proj'], exclude_modules: '.*\\.layers\\.1\\d?\\..*' }),
    ).toHaveLength(9);
  });

  it('keep the layers of layers_to_transform', () => {
    expect(select({ target_modules: ['q_proj'], layers_to_transform: 1 })).toEqual([
      'model.layers.1.self_attn.q_proj',
    ]);
    expect(select({ target_modules: ['q_proj'], layers_to_transform: [0, 11] })).toHaveLength(2);
  });

  it('that match nothing list the candidates', () => {
    expect(() => select({ target_modules: ['query'] })).toThrow(
      expect.objectContaining({
        code: 'adapter.noTarget',
        where: 'adapter.target_modules',
        next: expect.stringMatching(/q_proj, k_proj.*down_proj.*0 to 11/) as string,
      }),
    );
    expect(() => select({ target_modules: 'q_(' })).toThrow(
      expect.objectContaining({ code: 'config.invalid' }),
    );
  });

  it('take the first entry of a pattern table that fits', () => {
    const table = { 'layers.1.self_attn.q_proj': 2, q_proj: 4, '.*up_proj': 6 };
    const rank = (path: string) => matchPattern(table, path, 'rank_pattern')?.value;
    expect(rank('model.layers.1.self_attn.q_proj')).toBe(2);
    expect(rank('model.layers.11.self_attn.q_proj')).toBe(4);
    expect(rank('model.layers.0.mlp.up_proj')).toBe(6);
    expect(rank('model.layers.0.mlp.xq_proj')).toBeUndefined();
  });
});
