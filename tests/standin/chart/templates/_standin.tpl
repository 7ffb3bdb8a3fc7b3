{{/* Test only. What the stub needs to know about itself: upstream's images know their own version, our one image is imported under all names. */}}
{{- define "standin.env" -}}
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_UID
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
- name: STANDIN_IMAGE
  value: {{ .image | quote }}
- name: STANDIN_SUFFIX
  value: {{ .root.Values.env.multiInstallSuffix | default "" | quote }}
{{- /* Only for tags that aren't versions: upstream's pod templates don't change with the chart's version alone, so neither may ours. */}}
{{- if not (regexMatch ":[0-9]+[.][0-9]+[.][0-9]+[^:@/]*$" .image) }}
- name: STANDIN_CHART_VERSION
  value: {{ .root.Chart.Version | quote }}
{{- end }}
{{- end -}}

{{/* Test only. A RuntimeClass names its real handler, unless the cluster has none of Kata's and the test says which one to use. */}}
{{- define "standin.handler" -}}
{{- ((.root.Values.standin).runtimeHandler) | default .handler -}}
{{- end -}}

{{/* Test only. The token by which a per-node Job of 4.1.0 and later records the ground truth: upstream mounts none there. */}}
{{- define "standin.tokenVolume" -}}
- name: standin-token
  projected:
    sources:
      - serviceAccountToken:
          path: token
          expirationSeconds: 3600
      - configMap:
          name: kube-root-ca.crt
          items:
            - key: ca.crt
              path: ca.crt
      - downwardAPI:
          items:
            - path: namespace
              fieldRef:
                fieldPath: metadata.namespace
{{- end -}}

{{- define "standin.tokenMount" -}}
- name: standin-token
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end -}}

{{/* Test only. Who plays the pods on simulated nodes, for whatever else plays pods there to leave them alone. */}}
{{- define "standin.playedBy" -}}
{{- with (.Values.standin).playedBy -}}
bed.local/played-by: {{ . | quote }}
{{- end -}}
{{- end -}}

{{/*
Test only. With somebody playing pods on simulated nodes, what really has to run keeps to the others: tolerations that
a simulated node's taint needs are in the same value as the dispatcher's and the hooks'.
*/}}
{{- define "standin.realNode" -}}
{{- if (.Values.standin).playedBy -}}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            - key: bed.local/simulated
              operator: DoesNotExist
{{- end -}}
{{- end -}}
