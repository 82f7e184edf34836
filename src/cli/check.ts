// `daybook check`: would a start with this configuration work?

import { stringify } from 'yaml';
import { loadConfig, redacted } from '../config.ts';
import { complain, print } from './output.ts';

export async function check(options: { config?: string; json?: boolean }): Promise<void> {
  const config = loadConfig({ configPath: options.config });
  complain(config.file === undefined ? 'no configuration file: defaults and environment' : `read ${config.file}`);
  const shown = redacted(config);
  await print(options.json ? JSON.stringify(shown) : stringify(shown).trimEnd());
}
