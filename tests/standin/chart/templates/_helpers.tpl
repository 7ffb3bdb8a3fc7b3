{{/* The suffix of a second installation, with its dash, or nothing. */}}
{{- define "kata-deploy.suffix" -}}
{{- with .Values.env.multiInstallSuffix -}}-{{ . }}{{- end -}}
{{- end -}}

{{/* What the marker label and the RuntimeClasses' instance label say. */}}
{{- define "kata-deploy.instance" -}}
{{- .Values.env.multiInstallSuffix | default "default" -}}
{{- end -}}

{{/* Only labels and the verification's objects follow the release's name; nothing else does. */}}
{{- define "kata-deploy.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Before 3.32.0 the value is ignored. 3.32.0 and 4.0.0 take any word, and render neither mode for one that they don't know. */}}
{{- define "kata-deploy.mode" -}}
{{- if semverCompare ">=3.32.0-0" .Chart.Version -}}
{{- .Values.deploymentMode | default "daemonset" -}}
{{- else -}}
daemonset
{{- end -}}
{{- end -}}

{{/* A digest in the reference wins over the tag from 3.28.0 on. */}}
{{- define "kata-deploy.image" -}}
{{- if and (contains "@" .Values.image.reference) (semverCompare ">=3.28.0-0" .Chart.Version) -}}
{{- .Values.image.reference -}}
{{- else -}}
{{- .Values.image.reference }}:{{ .Values.image.tag | default .Chart.AppVersion -}}
{{- end -}}
{{- end -}}

{{/* The dispatcher of 4.2.0 has its own releases, so its tag can't follow the chart's. */}}
{{- define "kata-deploy.dispatcherImage" -}}
{{- $image := .Values.job.dispatcherImage -}}
{{- if contains "@" $image.reference -}}
{{- $image.reference -}}
{{- else if $image.tag -}}
{{- $image.reference }}:{{ $image.tag -}}
{{- else if semverCompare ">=4.2.0-0" .Chart.Version -}}
{{- fail "job.dispatcherImage.tag is required unless job.dispatcherImage.reference carries a digest" -}}
{{- else -}}
{{- $image.reference }}:{{ .Chart.AppVersion -}}
{{- end -}}
{{- end -}}

{{/* Hard-coded in 3.27.0. From 3.28.0 read without a default: values of an older release don't have it. */}}
{{- define "kata-deploy.kubectlImage" -}}
{{- if semverCompare ">=3.28.0-0" .Chart.Version -}}
{{- .Values.kubectlImage.reference }}:{{ .Values.kubectlImage.tag -}}
{{- else -}}
quay.io/kata-containers/kubectl:latest
{{- end -}}
{{- end -}}

{{/* One label selector in the API's own grammar, from `matchLabels`-like and `matchExpressions`-like lists. */}}
{{- define "kata-deploy.labelSelector" -}}
{{- $parts := list -}}
{{- range $key, $value := .labels -}}
{{- $parts = append $parts (printf "%s=%s" $key $value) -}}
{{- end -}}
{{- range .expressions -}}
{{- if eq .operator "Exists" -}}
{{- $parts = append $parts .key -}}
{{- else if eq .operator "DoesNotExist" -}}
{{- $parts = append $parts (printf "!%s" .key) -}}
{{- else if eq .operator "In" -}}
{{- $parts = append $parts (printf "%s in (%s)" .key (join "," .values)) -}}
{{- else if eq .operator "NotIn" -}}
{{- $parts = append $parts (printf "%s notin (%s)" .key (join "," .values)) -}}
{{- else -}}
{{- fail (printf "operator %s can't be part of a label selector" .operator) -}}
{{- end -}}
{{- end -}}
{{- join "," $parts -}}
{{- end -}}

{{/* A JSON list of label selectors, one for each term of a required node affinity: terms are alternatives. */}}
{{- define "kata-deploy.affinitySelectors" -}}
{{- $selectors := list -}}
{{- $required := ((.affinity).requiredDuringSchedulingIgnoredDuringExecution) -}}
{{- range (($required).nodeSelectorTerms) -}}
{{- $selectors = append $selectors (include "kata-deploy.labelSelector" (dict "labels" $.labels "expressions" .matchExpressions)) -}}
{{- end -}}
{{- if and (not $selectors) $.labels -}}
{{- $selectors = list (include "kata-deploy.labelSelector" (dict "labels" $.labels "expressions" list)) -}}
{{- end -}}
{{- toJson $selectors -}}
{{- end -}}

{{/* The RuntimeClass handlers that this release installs, as a JSON list. */}}
{{- define "kata-deploy.handlers" -}}
{{- $handlers := list -}}
{{- range $shim, $spec := .Values.shims -}}
{{- if $spec.enabled -}}
{{- $handler := printf "kata-%s%s" $shim (include "kata-deploy.suffix" $) -}}
{{- $handlers = append $handlers (include "standin.handler" (dict "root" $ "handler" $handler)) -}}
{{- end -}}
{{- end -}}
{{- toJson (uniq $handlers) -}}
{{- end -}}

{{/* Nodes' rights on kubelet proxies and a warning depend on whether images are pulled in the guest. */}}
{{- define "kata-deploy.guestPull" -}}
{{- if .Values.snapshotter.setup -}}true{{- end -}}
{{- end -}}

{{- define "kata-deploy.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
