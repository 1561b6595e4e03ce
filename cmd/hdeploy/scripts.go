package main

// completionScripts ask the program itself for candidates, so that they never
// fall behind its options.
var completionScripts = map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}

const bashScript = `# bash completion for hdeploy: source <(hdeploy completion bash)
_hdeploy() {
    local line candidate current=$2
    local -a words=("${COMP_WORDS[@]:1:COMP_CWORD}")
    # bash splits --output=plain into three words; put them together again.
    local -a whole=()
    local i
    for ((i = 0; i < ${#words[@]}; i++)); do
        if [[ ${words[i]} == "=" && ${#whole[@]} -gt 0 ]]; then
            whole[${#whole[@]}-1]+="="
        elif [[ ${#whole[@]} -gt 0 && ${whole[${#whole[@]}-1]} == --*= ]]; then
            whole[${#whole[@]}-1]+=${words[i]}
        else
            whole+=("${words[i]}")
        fi
    done
    [[ $current == "=" ]] && current=""
    COMPREPLY=()
    while IFS= read -r line; do
        candidate=${line%%$'\t'*}
        if [[ $candidate == ":files" ]]; then
            compopt -o filenames 2>/dev/null || :
            while IFS= read -r candidate; do
                COMPREPLY+=("$candidate")
            done < <(compgen -f -- "$current")
            return
        fi
        # After "=", bash replaces only what follows it.
        [[ $candidate == --*=* ]] && candidate=${candidate#*=}
        COMPREPLY+=("$candidate")
    done < <("${COMP_WORDS[0]}" __complete "${whole[@]}" 2>/dev/null)
}
complete -F _hdeploy hdeploy
`

const zshScript = `#compdef hdeploy
# zsh completion for hdeploy: source <(hdeploy completion zsh)
_hdeploy() {
    local line word about
    local -a described
    for line in "${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        [[ -z $line ]] && continue
        if [[ $line == ":files" ]]; then
            if [[ $PREFIX == --*=* ]]; then
                compset -P '*='
            fi
            _files
            return
        fi
        word=${line%%$'\t'*}
        about=${line#*$'\t'}
        [[ $about == "$line" ]] && about=""
        described+=("${word//:/\\:}${about:+:$about}")
    done
    _describe -t hdeploy 'hdeploy' described
}
if [[ ${funcstack[1]} == _hdeploy ]]; then
    _hdeploy "$@"
else
    compdef _hdeploy hdeploy
fi
`

const fishScript = `# fish completion for hdeploy: hdeploy completion fish | source
function __hdeploy_complete
    set -l typed (commandline -opc)
    set -l current (commandline -ct)
    set -l found ($typed[1] __complete $typed[2..-1] "$current" 2>/dev/null)
    if contains -- ":files" $found
        set -l option (string match -r -- '^--[^=]*=' $current; or echo '')
        for path in (__fish_complete_path (string replace -r -- '^--[^=]*=' '' $current))
            printf '%s%s\n' $option $path
        end
    else
        printf '%s\n' $found
    end
end
complete -c hdeploy -f -a '(__hdeploy_complete)'
`
