/** `runts completion bash|zsh`: made from the same declarations as help and parsing, plugins' included. */
import { type CommandContext, command } from "../command.ts";
import { dashed, type Flags, usage } from "../flags.ts";
import { globalFlags } from "../global-flags.ts";

export default command({
  name: "completion",
  summary: "print completions for a shell",
  args: "<bash|zsh>",
  description: `
  bash: source <(runts completion bash), or write it to
        /etc/bash_completion.d/runts
  zsh:  write it to a file _runts in a directory of $fpath`,
  async run(context, _flags, [shell]) {
    if (shell !== "bash" && shell !== "zsh")
      throw usage("runts completion", `expected "bash" or "zsh", got "${shell}"`);
    const words = await commandWords(context);
    context.out(shell === "bash" ? bash(words) : zsh(words));
  },
});

interface Words {
  global: string[];
  commands: { name: string; summary: string; flags: string[]; takesId: boolean }[];
}

const names = (flags: Flags): string[] =>
  Object.entries(flags)
    .filter(([, declaration]) => !declaration.hidden)
    .map(([name]) => `--${dashed(name)}`);

async function commandWords(context: CommandContext): Promise<Words> {
  const commands: Words["commands"] = [];
  for (const known of context.plugins.commands.values()) {
    const declaration = "load" in known ? await known.load() : known;
    if (known.hidden || declaration.hidden) continue;
    commands.push({
      name: declaration.name,
      summary: declaration.summary,
      flags: names(declaration.flags ?? {}),
      takesId:
        /<(container-)?id>/.test(declaration.args ?? "") && !["create", "run", "restore"].includes(declaration.name),
    });
  }
  commands.sort((a, b) => (a.name < b.name ? -1 : 1));
  return { global: names({ ...globalFlags, ...context.plugins.flags }), commands };
}

function bash({ global, commands }: Words): string {
  const cases = commands
    .map(({ name, flags, takesId }) => {
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's, not ours.
      const ids = takesId ? ' $([[ $cur == -* ]] || runts "${root[@]}" list --quiet 2>/dev/null)' : "";
      return `    ${name}) words="${[...flags, "--help"].join(" ")}${ids}" ;;`;
    })
    .join("\n");
  return `# bash completion for runts
_runts() {
  local cur=\${COMP_WORDS[COMP_CWORD]} command="" words="" i
  local -a root=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
    --root=*) root=("\${COMP_WORDS[i]}") ;;
    --root) root=(--root "\${COMP_WORDS[i + 1]}"); ((i++)) ;;
    --log | --log-format | --debug-log | --platform | --network | --config | --rootless) ((i++)) ;;
    -*) ;;
    *) command=\${COMP_WORDS[i]}; break ;;
    esac
  done
  case $command in
    "") words="${[...global, ...commands.map((each) => each.name), "help"].join(" ")}" ;;
${cases}
    *) return ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  [[ \${#COMPREPLY[@]} -eq 0 ]] && compopt -o default
}
complete -F _runts runts
`;
}

function zsh({ global, commands }: Words): string {
  const list = commands.map(({ name, summary }) => `    '${name}:${summary.replaceAll("'", "'\\''")}'`).join("\n");
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the shell's, not ours.
  const ids = '; [[ $PREFIX == -* ]] || compadd -- ${(f)"$(runts list --quiet 2>/dev/null)"}';
  const cases = commands
    .map(({ name, flags, takesId }) => {
      const words = [...flags, "--help"].join(" ");
      return `    ${name}) compadd -- ${words}${takesId ? ids : "; _files"} ;;`;
    })
    .join("\n");
  return `#compdef runts
_runts() {
  local -a commands=(
${list}
  )
  local word command=""
  for word in \${words[2,CURRENT-1]}; do
    [[ $word == -* ]] || (( ! $+commands[(r)$word:*] )) || { command=$word; break; }
  done
  if [[ -z $command ]]; then
    compadd -- ${global.join(" ")}
    _describe command commands
    return
  fi
  case $command in
${cases}
  esac
}
_runts "$@"
`;
}
