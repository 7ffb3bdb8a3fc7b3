{{/*
A per-node Job, as the dispatcher reads it from its file: it adds the name, the node and its own labels.
Takes `root`, `stage` (install or cleanup), `stages` (init containers first, the last one is the main container).
*/}}
{{- define "kata-deploy.nodeJob" -}}
{{- $root := .root -}}
{{- $since41 := semverCompare ">=4.1.0-0" $root.Chart.Version -}}
{{- $image := include "kata-deploy.image" $root -}}
{{- $last := last .stages -}}
apiVersion: batch/v1
kind: Job
metadata:
  labels:
    app.kubernetes.io/name: kata-deploy
    app.kubernetes.io/instance: {{ $root.Release.Name }}
    kata-deploy/stage: {{ .stage }}
spec:
  backoffLimit: {{ $root.Values.job.backoffLimit }}
  ttlSecondsAfterFinished: {{ $root.Values.job.ttlSecondsAfterFinished }}
  {{- if $since41 }}
  activeDeadlineSeconds: {{ $root.Values.job.activeDeadlineSeconds }}
  {{- end }}
  template:
    metadata:
      labels:
        {{- if $since41 }}
        {{- with omit ($root.Values.podLabels | default dict) "app.kubernetes.io/name" "app.kubernetes.io/instance" "kata-deploy/stage" }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- end }}
        app.kubernetes.io/name: kata-deploy
        app.kubernetes.io/instance: {{ $root.Release.Name }}
        kata-deploy/stage: {{ .stage }}
        {{- with include "standin.playedBy" $root }}
        {{- . | nindent 8 }}
        {{- end }}
    spec:
      restartPolicy: Never
      {{- if $since41 }}
      automountServiceAccountToken: false
      {{- else }}
      serviceAccountName: kata-deploy-sa{{ include "kata-deploy.suffix" $root }}
      {{- /* In place of upstream's hostPID: a stage that is told to go goes, in the middle of its work. */}}
      shareProcessNamespace: true
      {{- end }}
      {{- include "kata-deploy.pullSecrets" $root | nindent 6 }}
      {{- with $root.Values.priorityClassName }}
      priorityClassName: {{ . }}
      {{- end }}
      {{- $tolerations := include "kata-deploy.nodeJobTolerations" $root | fromJsonArray }}
      {{- with $tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      initContainers:
        {{- range initial .stages }}
        {{- include "kata-deploy.stage" (dict "root" $root "image" $image "command" (printf "%s-stage-%s" $.stage .) "name" .) | nindent 8 }}
        {{- end }}
      containers:
        {{- include "kata-deploy.stage" (dict "root" $root "image" $image "command" (printf "%s-stage-%s" .stage $last) "name" $last) | nindent 8 }}
      {{- if $since41 }}
      volumes:
        {{- include "standin.tokenVolume" $root | nindent 8 }}
      {{- end }}
{{- end -}}

{{- define "kata-deploy.stage" -}}
- name: {{ .name }}
  image: {{ .image | quote }}
  imagePullPolicy: {{ .root.Values.imagePullPolicy }}
  command: [/usr/bin/kata-deploy, {{ .command }}]
  env:
    {{- include "standin.env" (dict "root" .root "image" .image) | nindent 4 }}
    - name: STANDIN_JOB
      valueFrom:
        fieldRef:
          fieldPath: metadata.labels['batch.kubernetes.io/job-name']
  {{- if semverCompare ">=4.1.0-0" .root.Chart.Version }}
  volumeMounts:
    {{- include "standin.tokenMount" .root | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* As a JSON list. From 4.1.0 on like a DaemonSet's, or everything when the nodes were named. */}}
{{- define "kata-deploy.nodeJobTolerations" -}}
{{- $tolerations := .Values.tolerations | default list -}}
{{- if semverCompare ">=4.1.0-0" .Chart.Version -}}
{{- if .Values.job.nodes -}}
{{- $tolerations = list (dict "operator" "Exists") -}}
{{- else -}}
{{- $like := list -}}
{{- range list "not-ready" "unreachable" -}}
{{- $like = append $like (dict "key" (printf "node.kubernetes.io/%s" .) "operator" "Exists" "effect" "NoExecute") -}}
{{- end -}}
{{- range list "disk-pressure" "memory-pressure" "pid-pressure" "unschedulable" -}}
{{- $like = append $like (dict "key" (printf "node.kubernetes.io/%s" .) "operator" "Exists" "effect" "NoSchedule") -}}
{{- end -}}
{{- $tolerations = concat $like $tolerations -}}
{{- end -}}
{{- end -}}
{{- toJson $tolerations -}}
{{- end -}}

{{/* Which nodes a dispatcher is told to work on. `job.nodes` replaces every selector. Takes `root`, `stage`. */}}
{{- define "kata-deploy.dispatcherNodes" -}}
{{- $root := .root -}}
{{- $job := $root.Values.job -}}
{{- $since41 := semverCompare ">=4.1.0-0" $root.Chart.Version -}}
{{- $own := ternary $job $job.cleanup (eq .stage "install") -}}
{{- if $own.nodes }}
- --nodes={{ join "," $own.nodes }}
{{- else if $since41 }}
{{- $labels := ternary $root.Values.nodeSelector $own.nodeSelector (eq .stage "install") }}
{{- $affinity := ternary (($root.Values.affinity).nodeAffinity) $own.nodeAffinity (eq .stage "install") }}
{{- range include "kata-deploy.affinitySelectors" (dict "labels" ($labels | default dict) "affinity" $affinity) | fromJsonArray }}
- {{ printf "--node-selector=%s" . | quote }}
{{- end }}
{{- if eq .stage "install" }}
- --wait-for-nodes-secs={{ $job.waitForNodesSeconds }}
- --node-settle-secs={{ $job.nodeSettleSeconds }}
{{- end }}
{{- else }}
{{- with include "kata-deploy.labelSelector" (dict "labels" ($own.nodeSelector | default dict) "expressions" ($own.nodeSelectorExpressions | default list)) }}
- {{ printf "--node-selector=%s" . | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A hook Job that runs the dispatcher. Takes `root`, `stage`, `hook`, `deletePolicy`. */}}
{{- define "kata-deploy.dispatcher" -}}
{{- $root := .root -}}
{{- $job := $root.Values.job -}}
{{- $suffix := include "kata-deploy.suffix" $root -}}
{{- $image := include "kata-deploy.dispatcherImage" $root -}}
{{- $prefix := printf "kata-deploy%s-%s" $suffix .stage -}}
{{- $name := printf "%s-dispatcher" $prefix -}}
{{- $since41 := semverCompare ">=4.1.0-0" $root.Chart.Version -}}
{{- $external := semverCompare ">=4.2.0-0" $root.Chart.Version -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ $name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    app.kubernetes.io/name: kata-deploy
    app.kubernetes.io/instance: {{ $root.Release.Name }}
    kata-deploy/dispatcher: {{ .stage }}
  annotations:
    helm.sh/hook: {{ .hook }}
    helm.sh/hook-weight: "5"
    helm.sh/hook-delete-policy: {{ .deletePolicy }}
spec:
  backoffLimit: 0
  ttlSecondsAfterFinished: {{ $job.ttlSecondsAfterFinished }}
  template:
    metadata:
      labels:
        app.kubernetes.io/name: kata-deploy
        app.kubernetes.io/instance: {{ $root.Release.Name }}
        kata-deploy/dispatcher: {{ .stage }}
    spec:
      serviceAccountName: kata-deploy-dispatcher-sa{{ $suffix }}
      restartPolicy: Never
      {{- include "kata-deploy.pullSecrets" $root | nindent 6 }}
      {{- $tolerations := $root.Values.tolerations }}
      {{- if $since41 }}
      {{- $tolerations = $job.dispatcherTolerations | default $root.Values.tolerations }}
      {{- with $job.dispatcherNodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- end }}
      {{- with $tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with include "standin.realNode" $root }}
      {{- . | nindent 6 }}
      {{- end }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 65532
      containers:
        - name: dispatcher
          image: {{ $image | quote }}
          imagePullPolicy: {{ $root.Values.imagePullPolicy }}
          command: [{{ ternary "/usr/bin/k8s-job-dispatcher" "/usr/bin/kata-deploy-job-dispatcher" $external }}]
          args:
            - --job-template=/etc/kata-job/{{ .stage }}-job.yaml
            {{- if and $since41 (eq .stage "install") }}
            - --cleanup-job-template=/etc/kata-job/cleanup-job.yaml
            {{- end }}
            - --name-prefix={{ $prefix }}
            - --owner-job-name={{ $name }}
            - --parallelism={{ $job.parallelism }}
            {{- include "kata-deploy.dispatcherNodes" . | nindent 12 }}
            {{- if $since41 }}
            {{- with $root.Values.env.multiInstallSuffix }}
            - --multi-install-suffix={{ . }}
            {{- end }}
            {{- if eq .stage "install" }}
            - --node-label=true
            - --claim-node-pending
            - --wait-node-ready-secs={{ $job.waitNodeReadySeconds }}
            - --require-node-handlers={{ include "kata-deploy.handlers" $root | fromJsonArray | join "," }}
            {{- with $root.Values.startupTaints }}
            {{- $keys := list }}
            {{- range . }}
            {{- $keys = append $keys .key }}
            {{- end }}
            - --remove-node-taints={{ join "," $keys }}
            {{- end }}
            {{- if include "kata-deploy.guestPull" $root }}
            - --kubelet-timeout-warn-secs=600
            {{- end }}
            {{- else }}
            - --node-label=false
            - --ignore-node-taints
            {{- end }}
            {{- end }}
            {{- if $external }}
            - --tracking-label-prefix=kata-deploy-job-dispatcher
            - --node-label-key=katacontainers.io/kata-runtime
            - --instance-label-prefix=kata-deploy.katacontainers.io
            - --require-node-runtime-version
            - --require-node-machine-id
            {{- end }}
          env:
            {{- include "standin.env" (dict "root" $root "image" $image) | nindent 12 }}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
          volumeMounts:
            - name: job-templates
              mountPath: /etc/kata-job
              readOnly: true
      volumes:
        - name: job-templates
          configMap:
            name: kata-deploy{{ $suffix }}-job-templates
{{- end -}}
