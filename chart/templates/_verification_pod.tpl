{{- /* The verification pod as base64, which survives every layer between here and the step. What can be seen to be no
       Pod is refused here; the steps look again, and more closely. */ -}}
{{- define "klm.verificationPod" -}}
{{- $given := .Values.defaults.verificationPod -}}
{{- $encoded := regexMatch "^[A-Za-z0-9+/\\s]+={0,2}\\s*$" $given -}}
{{- $text := ternary (regexReplaceAll "\\s" $given "" | b64dec) $given $encoded -}}
{{- $objects := list -}}
{{- range regexSplit "(?m)^---(?:\\s|$)" $text -1 -}}
{{- with fromYaml . -}}{{- $objects = append $objects . -}}{{- end -}}
{{- end -}}
{{- $pod := first (append $objects dict) -}}
{{- $wrong := "" -}}
{{- if not (trim $given) -}}
{{- $wrong = "is empty, but a pod is needed that proves a node after its upgrade" -}}
{{- else if hasKey $pod "Error" -}}
{{- $wrong = printf "isn't the YAML of a Pod: %s" $pod.Error -}}
{{- else if ne (len $objects) 1 -}}
{{- $wrong = printf "holds %d objects, but must hold one Pod" (len $objects) -}}
{{- else if ne (toString $pod.kind) "Pod" -}}
{{- $wrong = printf "is a `%v`, but must be a `Pod`" $pod.kind -}}
{{- else if ne (toString $pod.apiVersion) "v1" -}}
{{- $wrong = printf "has apiVersion `%v`, but a Pod has `v1`" $pod.apiVersion -}}
{{- else if not (kindIs "map" $pod.spec) -}}
{{- $wrong = "has no spec" -}}
{{- else if not (kindIs "slice" $pod.spec.containers) -}}
{{- $wrong = "has no containers" -}}
{{- else if not $pod.spec.containers -}}
{{- $wrong = "has no containers" -}}
{{- else if gt (len (b64enc $text)) 61440 -}}
{{- $wrong = printf "is %d bytes, but Argo carries at most 46080: move its scripts into its image or a ConfigMap" (len $text) -}}
{{- end -}}
{{- with $wrong -}}
{{- fail (printf "\n\ndefaults.verificationPod %s\nhint: give a Pod with --set-file defaults.verificationPod=./my-verification-pod.yaml\n" .) -}}
{{- end -}}
{{- b64enc $text -}}
{{- end }}
