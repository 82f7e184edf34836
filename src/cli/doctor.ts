// `daybook doctor`: what is wrong with this configuration, store and environment, in sentences.

import { type Config, ConfigError, loadConfig } from '../config.ts';
import { readDescriptorFiles } from '../payloads/files.ts';
import { checkComponents } from './doctor/components.ts';
import { checkMachine, checkMemory } from './doctor/environment.ts';
import { type Finding, fault, ok } from './doctor/finding.ts';
import { checkListening } from './doctor/listening.ts';
import { checkStorage } from './doctor/storage.ts';
import { EXIT } from './exit-codes.ts';
import { plainText, print } from './output.ts';

export async function doctor(options: { config?: string; json?: boolean }): Promise<void> {
  const findings: Finding[] = [];
  const tell = async (found: Finding[] | Promise<Finding[]>) => {
    for (const finding of await found) {
      findings.push(finding);
      if (!options.json) await print(plainText(`${finding.level.padEnd(5)}  ${finding.about}: ${finding.sentence}`));
    }
  };
  await tell(checkMachine());
  const config = readConfig(options.config);
  if (Array.isArray(config)) await tell(config);
  else {
    const read = config.file === undefined ? 'no file: defaults and environment' : `read ${config.file}`;
    await tell([ok('configuration', read)]);
    await tell(checkMemory(config));
    await tell(checkStorage(config.storage));
    await tell(checkListening(config.listen));
    await tell(checkComponents(config.components));
    await tell(checkDescriptors(config.descriptors));
  }
  const count = (level: Finding['level']) => findings.filter((finding) => finding.level === level).length;
  const [faults, warnings] = [count('fault'), count('warn')];
  if (options.json) await print(JSON.stringify({ faults, warnings, findings }));
  else await print(`${counted(faults, 'fault')}, ${counted(warnings, 'warning')}`);
  if (faults > 0) process.exitCode = EXIT.fault;
}

function readConfig(path: string | undefined): Config | Finding[] {
  try {
    return loadConfig({ configPath: path });
  } catch (thrown) {
    if (!(thrown instanceof ConfigError)) throw thrown;
    return thrown.faults.map((sentence) => fault('configuration', sentence));
  }
}

async function checkDescriptors(paths: readonly string[]): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const [i, path] of paths.entries()) {
    try {
      await readDescriptorFiles([path]);
      findings.push(ok('descriptors', `${path} can be used`));
    } catch (thrown) {
      findings.push(fault('descriptors', (thrown as Error).message.replace('descriptors[0]', `descriptors[${i}]`)));
    }
  }
  return findings;
}

function counted(count: number, word: string): string {
  return `${count === 0 ? 'no' : count} ${word}${count === 1 ? '' : 's'}`;
}
