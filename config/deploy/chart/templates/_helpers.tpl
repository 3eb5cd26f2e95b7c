{{/* What the pods are found by. */}}
{{- define "portcullis.selector" -}}
app.kubernetes.io/name: portcullis
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* What every object has. */}}
{{- define "portcullis.labels" -}}
{{ include "portcullis.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end }}

{{/* Every object's name: the release, with the program's where it is another. */}}
{{- define "portcullis.name" -}}
{{- if contains "portcullis" .Release.Name -}}
{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-portcullis" .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end -}}
{{- end }}

{{/* The config file's text. */}}
{{- define "portcullis.config" -}}
{{ tpl .Values.config . }}
{{- end }}
