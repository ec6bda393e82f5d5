# bash completion of ptproxy
_ptproxy() {
  local word=$2 before=$3
  COMPREPLY=()
  case $before in
    -c | --config) mapfile -t COMPREPLY < <(compgen -f -X '!*.json' -- "$word"; compgen -d -- "$word"); return ;;
    -o | --output) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
    --client | --server) mapfile -t COMPREPLY < <(compgen -A hostname -- "$word"); return ;;
    -a | --address | --days) return ;;
  esac
  local words
  case ${COMP_WORDS[1]} in
    certs) words='--client --server --output --days --help' ;;
    status) words='--config --address --help' ;;
    *)
      words='--config --check --dump --version --help'
      [ "$COMP_CWORD" != 1 ] || words+=' certs status'
      ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _ptproxy -o filenames ptproxy
