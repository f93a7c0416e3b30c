/** The configuration file. */
export interface Config {
  flags: Record<string, unknown>;
  directories: string[];
  enable: string[];
  disable: string[];
  options: Record<string, unknown>;
}
export async function readConfig(_path: string | undefined): Promise<Config> {
  return { flags: {}, directories: [], enable: [], disable: [], options: {} };
}
