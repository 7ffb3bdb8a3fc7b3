{{- /* Names. By default they don't depend on the release's name: every documented command names the template. */ -}}

{{- define "klm.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "klm.fullname" -}}
{{- default (include "klm.name" .) .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- /* What isn't in argoNamespace bears its name, so that two installs in two namespaces don't meet. */ -}}
{{- define "klm.clusterName" -}}
{{- printf "%s-%s" (include "klm.fullname" .) .Values.argoNamespace }}
{{- end }}

{{- define "klm.serviceAccountName" -}}
{{- default (ternary (include "klm.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- /* Labels. */ -}}

{{- define "klm.labels" -}}
{{- $labels := dict
      "app.kubernetes.io/name" (include "klm.name" .)
      "app.kubernetes.io/instance" .Release.Name
      "app.kubernetes.io/version" .Chart.AppVersion
      "app.kubernetes.io/managed-by" .Release.Service
      "app.kubernetes.io/part-of" "kata-containers"
      "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- toYaml (merge $labels .Values.commonLabels) }}
{{- end }}

{{- define "klm.workflowLabels" -}}
{{- toYaml (merge (dict "app.kubernetes.io/name" (include "klm.name" .) "app.kubernetes.io/part-of" "kata-containers") .Values.commonLabels) }}
{{- end }}

{{- define "klm.podLabels" -}}
{{- $own := dict "app.kubernetes.io/name" (include "klm.name" .) "app.kubernetes.io/part-of" "kata-containers" "app.kubernetes.io/component" "step" -}}
{{- toYaml (merge $own .Values.stepPods.labels .Values.commonLabels) }}
{{- end }}

{{- /* Step pods. */ -}}

{{- define "klm.pullSecrets" -}}
{{- range . }}
- name: {{ if kindIs "map" . }}{{ .name | quote }}{{ else }}{{ . | quote }}{{ end }}
{{- end }}
{{- end }}

{{- define "klm.ttlStrategy" -}}
{{- $ttl := dict -}}
{{- with .Values.workflow -}}
{{- if not (kindIs "invalid" .ttlSecondsAfterSuccess) -}}{{- $_ := set $ttl "secondsAfterSuccess" (int64 .ttlSecondsAfterSuccess) -}}{{- end -}}
{{- if not (kindIs "invalid" .ttlSecondsAfterFailure) -}}{{- $_ := set $ttl "secondsAfterFailure" (int64 .ttlSecondsAfterFailure) -}}{{- end -}}
{{- end -}}
{{- toYaml $ttl }}
{{- end }}

{{- /* Argo's own containers take their security context from the controller's configuration, which may have none;
       Pod Security `restricted` would then refuse every step. */ -}}
{{- define "klm.podSpecPatch" -}}
{{- /* Argo passes a workflow's `automountServiceAccountToken` on only when it is false. */ -}}
{{- $patch := dict "automountServiceAccountToken" true "terminationGracePeriodSeconds" (int64 .Values.stepPods.terminationGracePeriodSeconds) -}}
{{- if .Values.stepPods.patchExecutor -}}
{{- $locked := dict "allowPrivilegeEscalation" false "capabilities" (dict "drop" (list "ALL")) -}}
{{- $_ := set $patch "initContainers" (list (dict "name" "init" "securityContext" $locked)) -}}
{{- $_ := set $patch "containers" (list (dict "name" "wait" "securityContext" $locked)) -}}
{{- end -}}
{{- toJson $patch }}
{{- end }}

{{- define "klm.env" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: HOME
  value: /tmp
- name: HELM_CACHE_HOME
  value: /tmp/helm/cache
- name: HELM_CONFIG_HOME
  value: /tmp/helm/config
- name: HELM_DATA_HOME
  value: /tmp/helm/data
- name: KUBECACHEDIR
  value: /tmp/kube
{{- if .Values.registry.existingSecret }}
- name: HELM_REGISTRY_CONFIG
  value: /etc/kata-lifecycle-manager/registry/config.json
{{- end }}
{{- if .Values.registry.plainHTTP }}
- name: KLM_HELM_PLAIN_HTTP
  value: "true"
{{- end }}
{{- if .Values.caBundle.configMap }}
- name: SSL_CERT_FILE
  value: {{ printf "/etc/kata-lifecycle-manager/ca/%s" .Values.caBundle.key | quote }}
{{- end }}
{{- with .Values.proxy }}
{{- if or .http .https }}
{{- with .http }}
- name: HTTP_PROXY
  value: {{ . | quote }}
{{- end }}
{{- with .https }}
- name: HTTPS_PROXY
  value: {{ . | quote }}
{{- end }}
- name: NO_PROXY
  # The API server is never reached through the proxy.
  value: {{ join "," (compact (list "$(KUBERNETES_SERVICE_HOST)" "localhost" "127.0.0.1" ".svc" .noProxy)) | quote }}
{{- end }}
{{- end }}
{{- with .Values.stepPods.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "klm.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
{{- if .Values.registry.existingSecret }}
- name: registry
  mountPath: /etc/kata-lifecycle-manager/registry
  readOnly: true
{{- end }}
{{- if .Values.caBundle.configMap }}
- name: ca-bundle
  mountPath: /etc/kata-lifecycle-manager/ca
  readOnly: true
{{- end }}
{{- with .Values.stepPods.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* What every metric of a run is labelled with. */ -}}
{{- define "klm.metricLabels" -}}
- key: helm_namespace
  value: "{{`{{workflow.parameters.helm-namespace}}`}}"
- key: helm_release
  value: "{{`{{workflow.parameters.helm-release}}`}}"
{{- end }}

{{- /* Rights. */ -}}

{{- /* Names of kata-deploy's cluster-wide objects, for the plain install and for each with a suffix. */ -}}
{{- define "klm.installedNames" -}}
{{- $names := list -}}
{{- $root := index . 0 -}}
{{- range $suffix := prepend $root.Values.rbac.installSuffixes "" -}}
{{- range $name := index $ 1 -}}
{{- $names = append $names (ternary (printf "%s-%s" $name $suffix) $name (ne $suffix "")) -}}
{{- end -}}
{{- end -}}
{{- toJson $names }}
{{- end }}

{{- /* A list of namespaces as JSON: the one of `defaults` and those listed, each once. */ -}}
{{- define "klm.namespaces" -}}
{{- prepend (index . 1) (index . 0) | uniq | toJson }}
{{- end }}

{{- /* A role with its binding, in a namespace or, without one, for the whole cluster: (list $ name namespace rules). */ -}}
{{- define "klm.role" -}}
{{- $root := index . 0 -}}
{{- $namespace := index . 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "Role" "ClusterRole" (ne $namespace "") }}
metadata:
  name: {{ index . 1 }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "klm.labels" $root | nindent 4 }}
  {{- with $root.Values.commonAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
rules: {{- index . 3 | trim | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ ternary "RoleBinding" "ClusterRoleBinding" (ne $namespace "") }}
metadata:
  name: {{ index . 1 }}
  {{- with $namespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "klm.labels" $root | nindent 4 }}
  {{- with $root.Values.commonAnnotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ ternary "Role" "ClusterRole" (ne $namespace "") }}
  name: {{ index . 1 }}
subjects:
  - kind: ServiceAccount
    name: {{ include "klm.serviceAccountName" $root }}
    namespace: {{ $root.Values.argoNamespace }}
{{- end }}
