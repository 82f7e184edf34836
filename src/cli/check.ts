// `daybook check`: would a start with this configuration work?

import { stringify } from 'yaml';
import { loadConfig, redacted } from '../config.ts';
import { readDescriptorFiles } from '../payloads/files.ts';
import { EXIT, Exit } from './exit-codes.ts';
import { complain, print } from './output.ts';

export async function check(options: { config?: string; json?: boolean }): Promise<void> {
  const config = loadConfig({ configPath: options.config });
  await readDescriptorFiles(config.descriptors).catch((thrown: Error) => {
    throw new Exit(EXIT.fault, thrown.message);
  });
  complain(config.file === undefined ? 'no configuration file: defaults and environment' : `read ${config.file}`);
  const shown = redacted(config);
  await print(options.json ? JSON.stringify(shown) : stringify(shown).trimEnd());
}
