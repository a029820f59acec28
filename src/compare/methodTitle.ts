import { isObject } from '../protocol/guards';

/** The method of a configuration under the name that papers use. */
export function methodTitle(config: unknown): string {
  const { method, adapter, quantization } = isObject(config) ? config : {};
  const options = isObject(adapter) ? adapter : {};
  const fourBit = isObject(quantization) && quantization.load_in_4bit === true;
  switch (method) {
    case 'dota': {
      const name = fourBit ? 'QDoTA' : 'DoTA';
      return options.init_weights === 'gradient' ? `${name} (gradient)` : name;
    }
    case 'random_mpo':
      return 'Random MPO';
    case 'mpop':
      return 'MPOP';
    case 'loretta':
      return 'LoRETTA';
    case 'lora':
      if (options.use_dora === true) return fourBit ? 'QDoRA' : 'DoRA';
      if (options.init_lora_weights === 'pissa') return fourBit ? 'QPiSSA' : 'PiSSA';
      if (options.use_rslora === true) return 'rsLoRA';
      return fourBit ? 'QLoRA' : 'LoRA';
    case 'full':
      return 'Full fine-tuning';
    default:
      return typeof method === 'string' ? method : 'unknown';
  }
}
