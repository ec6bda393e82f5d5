# Read by an interactive zsh: what it offers at the next Tab goes to the file $OFFERED, one a line, and "end of list"
# after it. The completions in $COMPLETIONS come before its own.
fpath=($COMPLETIONS $fpath)
autoload -Uz compinit && compinit -u -D
offered=$OFFERED

compadd() {
  local -a hits
  if ((! ${@[(I)-[OAD]]})); then # with these nothing is added
    builtin compadd -O hits "$@"
    ((! $#hits)) || print -rl -- $hits >>$offered
  fi
  builtin compadd "$@"
}

end_of_list() { print 'end of list' >>$offered; }
comppostfuncs=(end_of_list)
print 'ready' >>$offered
