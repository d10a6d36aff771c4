{{- define "understudy.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride }}
{{- else if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Of a part: a list of the root and "control" or "node". A selector never changes, other labels may. */}}
{{- define "understudy.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "understudy.labels" -}}
{{- $root := index . 0 -}}
{{ include "understudy.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end }}

{{- define "understudy.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end -}}
{{- end }}
{{- end }}

{{/* What no schema can say, since it is of two values. */}}
{{- define "understudy.check" -}}
{{- with .Values }}
{{- if not (or .models.claim .models.places) }}{{ fail "models.claim or models.places: where are the models?" }}{{ end }}
{{- if and .rollouts.configMap .rollouts.inline }}{{ fail "rollouts.configMap and rollouts.inline: give one of them" }}{{ end }}
{{- if and (gt (int .control.replicas) 1) (not .database.secret) }}{{ fail "control.replicas: more than one needs database.secret, of a PostgreSQL that they share" }}{{ end }}
{{- if and .database.secret .control.state.claim }}{{ fail "control.state.claim: with database.secret nothing is kept there" }}{{ end }}
{{- if and .node.tls.secret .gateway.parentRefs }}{{ fail "node.tls.secret: the route of gateway.parentRefs speaks plain HTTP to nodes; end TLS at the Gateway" }}{{ end }}
{{- if and .networkPolicy.enabled .monitoring.monitors (not .networkPolicy.metrics) }}{{ fail "networkPolicy.metrics: who is Prometheus? Without it the policy keeps out those whom monitoring.monitors calls" }}{{ end }}
{{- if and .node.autoscaling.enabled (gt (int .node.autoscaling.minReplicas) (int .node.autoscaling.maxReplicas)) }}{{ fail "node.autoscaling: minReplicas is above maxReplicas" }}{{ end }}
{{- end }}
{{- end }}

{{/* The options that say where models are: the folder of a volume first. */}}
{{- define "understudy.modelArgs" -}}
{{- with .Values.models }}
{{- if .claim }}
- --models
- /models
{{- end }}
{{- range .places }}
- --models
- {{ . | quote }}
{{- end }}
{{- if .places }}
- --model-cache-size
- {{ .cacheSize | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Settings as variables: those of the part, and what stores of models ask for. */}}
{{- define "understudy.environment" -}}
{{- range $name, $value := merge (dict) (index . 1) (index . 0).Values.models.environment }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- define "understudy.fileArgs" -}}
{{- range $option, $from := . }}
- --{{ $option }}
- /files/{{ $option }}
{{- end }}
{{- end }}

{{- define "understudy.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* The part of a pod that both have: who it is, where it may run. */}}
{{- define "understudy.pod" -}}
{{- $root := index . 0 }}
{{- $pod := index . 1 -}}
automountServiceAccountToken: false
# Else the Service `understudy` would set UNDERSTUDY_PORT, which is a setting.
enableServiceLinks: false
{{- with $root.Values.serviceAccount }}
serviceAccountName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with $pod.priorityClass }}
priorityClassName: {{ . }}
{{- end }}
{{- with $pod.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pod.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pod.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Secrets are mounted one by one: clouds mount identities of their own below /run/secrets. */}}
{{- define "understudy.mounts" -}}
{{- $root := index . 0 -}}
{{- range index . 2 }}
- {name: secrets, mountPath: /run/secrets/{{ . }}, subPath: {{ . }}, readOnly: true}
{{- end }}
{{- if $root.Values.models.claim }}
- {name: models, mountPath: /models, readOnly: true}
{{- end }}
{{- if index . 1 }}
- {name: files, mountPath: /files, readOnly: true}
{{- end }}
- {name: state, mountPath: /state}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "understudy.volumes" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.models.claim }}
- name: models
  persistentVolumeClaim: {claimName: {{ . }}, readOnly: true}
{{- end }}
{{- with index . 1 }}
- name: files
  projected:
    sources:
    {{- range $option, $from := . }}
      - secret: {name: {{ $from.secret }}, items: [{key: {{ $from.key }}, path: {{ $option }}}]}
    {{- end }}
{{- end }}
- name: tmp
  emptyDir: {}
{{- end }}

{{/* How quickly nodes come and go. */}}
{{- define "understudy.scaling" -}}
scaleDown:
  stabilizationWindowSeconds: 300
  policies: [{type: Pods, value: 1, periodSeconds: 60}]
{{- end }}
