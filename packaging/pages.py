#!/usr/bin/env python3
"""A program's manual page and bash completion, made of its own --help and of a page of prose.

    pages.py PROGRAM PROSE VERSION FOLDER      writes FOLDER/NAME.1.gz and FOLDER/NAME.bash

So they cannot say something else than the program does. The same input gives the same bytes.
"""
import gzip
import os
import re
import subprocess
import sys

DEPTH_MAX = 4  # of subcommands


class Help:
    """One --help of CLI11: what it says about itself, its options, positionals and subcommands."""

    def __init__(self, program, path):
        environment = {k: v for k, v in os.environ.items() if k in ('PATH', 'LD_LIBRARY_PATH')}
        environment['LC_ALL'] = 'C'
        done = subprocess.run([program, *path, '--help'], capture_output=True, text=True, env=environment, timeout=60,
                              check=False)
        if done.returncode != 0:
            sys.exit(f'pages.py: {program} {" ".join(path)} --help ended with {done.returncode}: {done.stderr.strip()}')
        self.path = path
        self.about, self.usage, self.options, self.positionals, self.subcommands, self.footer = [], '', [], [], [], []
        self.parse(done.stdout.splitlines())
        self.children = []
        if len(path) < DEPTH_MAX:
            self.children = [Help(program, [*path, name]) for name, _ in self.subcommands]

    def parse(self, lines):
        into = None  # a list of [term, text]; None: before the first heading
        seen = False
        for line in lines:
            heading = re.fullmatch(r'(Positionals|Options|Subcommands):', line)
            if line.startswith('Usage:'):
                self.usage = line[len('Usage:'):].split(' ', 2)[2] if line.count(' ') > 1 else ''
                into, seen = None, True
            elif heading:
                into = {'Positionals': self.positionals, 'Options': self.options, 'Subcommands': self.subcommands}[heading[1]]
            elif into is not None and line.startswith('   ') and into:  # goes on
                into[-1][1] = (into[-1][1] + '\n' + line.strip()).strip()
            elif into is not None and line.startswith('  '):
                term, _, text = line.strip().partition('  ')
                into.append([term, text.strip()])
            elif not line.strip():
                into = None if into else into
                if self.footer and self.footer[-1]:
                    self.footer.append('')
            elif not seen:
                self.about.append(line)
            else:
                into = None
                self.footer.append(line)
        while self.footer and not self.footer[-1]:
            self.footer.pop()

    def option_words(self):
        """[names, values]: ['-h', '--help'], the values that may follow or None where none does."""
        out = []
        for term, _ in self.options:
            names = re.match(r'-[^ ]*', term)[0].split(',')
            rest = term[len(','.join(names)):].strip()
            choice = re.search(r':\{([^}]*)\}', rest)
            out.append((names, choice[1].split(',') if choice else [] if rest else None))
        return out


def escaped(text):
    text = text.replace('\\', '\\e').replace('-', '\\-').replace("'", '\\(aq').replace('`', '\\(ga')
    return re.sub(r'(?m)^\.', '\\\\&.', text)


def roff_prose(path):
    """{section: [lines]} of the prose: '# SECTION', paragraphs, and lines that begin with four blanks as they are."""
    sections, name, literal = {}, None, False
    with open(path, encoding='utf-8') as f:
        for line in f.read().splitlines():
            if line.startswith('# '):
                name, literal = line[2:].strip(), False
                sections[name] = []
                continue
            if name is None:
                sys.exit(f'pages.py: {path}: text before the first "# SECTION"')
            out = sections[name]
            if line.startswith('    '):
                if not literal:
                    out.append('.PP\n.EX')
                    literal = True
                out.append(escaped(line[4:]))
                continue
            if literal:
                out.append('.EE')
                literal = False
            if line:
                out.append(escaped(line))
            elif out:
                out.append('.PP')
            continue
    for lines in sections.values():
        if lines.count('.PP\n.EX') > lines.count('.EE'):
            lines.append('.EE')
        while lines and lines[-1] == '.PP':
            lines.pop()
    return sections


def roff_list(items):
    out = []
    for term, text in items:
        out.append('.TP\n\\fB' + escaped(term) + '\\fR')
        out.append('\n.br\n'.join(escaped(line) for line in text.split('\n')) or '\\&')
    return out


def roff_commands(help_, name):
    out = []
    for child, (_, text) in zip(help_.children, help_.subcommands):
        usage = [name, *child.path]
        explained = []
        for term, meaning in child.positionals:
            said = term.partition(' ')[2]
            if said == meaning:  # nothing that the term does not say
                usage.append(said)
            else:
                explained.append([term, meaning])
        out.append('.SS "' + escaped(' '.join(usage)) + '"')
        out.append(escaped(text or ' '.join(child.about)))
        # --help is everywhere.
        out += roff_list(explained + [o for o in child.options if not o[0].startswith('-h,')])
        out += roff_commands(child, name)
    return out


def man_page(help_, name, prose, version):
    sections = roff_prose(prose)
    first = [s for s in ('NAME', 'SYNOPSIS', 'DESCRIPTION') if s in sections]
    out = [f'.TH {name.upper()} 1 "" "bmcpair {version}" "bmcpair"', '.nh', '.ad l']
    for s in first:
        out += [f'.SH {s}', *sections[s]]
    if help_.positionals:
        out += ['.SH ARGUMENTS', *roff_list(help_.positionals)]
    out += ['.SH OPTIONS', *roff_list(help_.options)]
    if help_.children:
        out += ['.SH COMMANDS', *roff_commands(help_, name)]
    if help_.footer:
        out += ['.SH NOTES', '.EX', *(escaped(line) for line in help_.footer), '.EE']
    for s in sections:
        if s not in first:
            out += [f'.SH "{s}"', *sections[s]]
    return '\n'.join(out) + '\n'


def completion(help_, name):
    cases, values = [], []

    def walk(h):
        names = [n for option, _ in h.option_words() for n in option]
        commands = [n for n, _ in h.subcommands]
        cases.append(f"    '{'/'.join(h.path)}') options='{' '.join(names)}' commands='{' '.join(commands)}' ;;")
        for option, follows in h.option_words():
            if follows is not None:
                key = '|'.join("'" + '/'.join(h.path) + ' ' + n + "'" for n in option)
                values.append(f"    {key}) takes=1 choices='{' '.join(follows)}' ;;")
        for child in h.children:
            walk(child)

    walk(help_)
    function = '_' + re.sub(r'\W', '_', name)
    return f'''# bash completion for {name}; made by packaging/pages.py
{function}_path() {{
  case "$1" in
{chr(10).join(cases)}
    *) options= commands= ;;
  esac
}}
{function}_value() {{
  takes= choices=
  case "$1 $2" in
{chr(10).join(values) or "    '') ;;"}
  esac
}}
{function}() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} path= options commands takes choices i word
  {function}_path ''
  for ((i = 1; i < COMP_CWORD; ++i)); do
    word=${{COMP_WORDS[i]}}
    {function}_value "$path" "$word"
    if [ -n "$takes" ]; then i=$((i + 1)); continue; fi
    case " $commands " in
      *" $word "*) path=${{path:+$path/}}$word; {function}_path "$path" ;;
    esac
  done
  COMPREPLY=()
  {function}_value "$path" "${{COMP_WORDS[COMP_CWORD-1]}}"
  if [ -n "$takes" ] && [ "$COMP_CWORD" -gt 1 ]; then
    # Nothing to choose from: bash's own, which are files.
    [ -z "$choices" ] || COMPREPLY=($(compgen -W "$choices" -- "$cur"))
  elif [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$cur"))
  elif [ -n "$commands" ]; then
    COMPREPLY=($(compgen -W "$commands" -- "$cur"))
  fi
}}
complete -o bashdefault -o default -F {function} {name}
'''


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    program, prose, version, folder = sys.argv[1:]
    name = os.path.basename(program)
    os.makedirs(folder, exist_ok=True)
    help_ = Help(program, [])
    page = man_page(help_, name, prose, version)
    with open(os.path.join(folder, name + '.1.gz'), 'wb') as raw:
        with gzip.GzipFile('', 'wb', 9, raw, mtime=0) as out:
            out.write(page.encode())
    with open(os.path.join(folder, name + '.bash'), 'w', encoding='utf-8') as out:
        out.write(completion(help_, name))


if __name__ == '__main__':
    main()
