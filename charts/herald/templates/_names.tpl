{{- define "herald.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* The release's name, which is not said twice. Room is left for "-operator". */}}
{{- define "herald.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := include "herald.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Of what has no namespace: two releases of one name may be in two namespaces. */}}
{{- define "herald.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "herald.fullname" .) | trunc 100 }}
{{- end }}

{{/* Where agents renew their Leases; a name has 63 characters. */}}
{{- define "herald.leaseNamespace" -}}
{{- $name := include "herald.clusterName" . }}
{{- if gt (len $name) 52 }}
{{- $name = printf "%s-%s" ($name | trunc 43 | trimSuffix "-") (sha256sum $name | trunc 8) }}
{{- end }}
{{- default (printf "%s-node-lease" $name) .Values.agent.leaseNamespace.name }}
{{- end }}

{{/* Called with (list $ "agent"). */}}
{{- define "herald.selectorLabels" -}}
app.kubernetes.io/name: {{ include "herald.name" (index . 0) | quote }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Of pods: nothing that changes with each version of the chart, or an upgrade would replace them for it. */}}
{{- define "herald.podLabels" -}}
{{- $root := index . 0 }}
{{- $own := include "herald.selectorLabels" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/part-of" "herald" }}
{{- $more := (index $root.Values (index . 1)).podLabels }}
{{- toYaml (merge dict $own $more $root.Values.commonLabels) }}
{{- end }}

{{- define "herald.labels" -}}
{{- $root := index . 0 }}
{{- $own := include "herald.selectorLabels" . | fromYaml }}
{{- $chart := dict
  "app.kubernetes.io/version" $root.Chart.AppVersion
  "app.kubernetes.io/part-of" "herald"
  "app.kubernetes.io/managed-by" $root.Release.Service
  "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_")
}}
{{- toYaml (merge dict $own $chart $root.Values.commonLabels) }}
{{- end }}

{{- define "herald.podAnnotations" -}}
{{- $root := index . 0 }}
{{- $component := index . 1 }}
{{- $values := index $root.Values $component }}
{{- $own := dict "kubectl.kubernetes.io/default-container" $component }}
{{- if $root.Values.prometheus.scrapeAnnotations }}
{{- $port := toString $values.http.port }}
{{- $own = merge $own (dict "prometheus.io/scrape" "true" "prometheus.io/port" $port "prometheus.io/path" "/metrics") }}
{{- end }}
{{- toYaml (merge dict $values.podAnnotations $own) }}
{{- end }}

{{- define "herald.serviceAccount" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $account := (index $root.Values $component).serviceAccount -}}
{{- if $account.create }}
{{- default (printf "%s-%s" (include "herald.fullname" $root) $component) $account.name }}
{{- else }}
{{- default "default" $account.name }}
{{- end }}
{{- end }}

{{- define "herald.image" -}}
{{- with .Values.image }}
{{- if .digest }}
{{- printf "%s@%s" .repository .digest }}
{{- else }}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "herald.isScraped" -}}
{{- with .Values.prometheus }}
{{- if or .scrapeAnnotations .podMonitor.enabled .serviceMonitor.enabled }}true{{ end }}
{{- end }}
{{- end }}

{{- define "herald.agentHttpAddress" -}}
{{- default (ternary "[::]" "127.0.0.1" (eq (include "herald.isScraped" .) "true")) .Values.agent.http.address }}
{{- end }}

{{/* Where the kubelet asks, which is on the node. */}}
{{- define "herald.agentProbeHost" -}}
{{- $address := include "herald.agentHttpAddress" . }}
{{- if has $address (list "[::]" "0.0.0.0") }}127.0.0.1{{ else }}{{ $address | trimPrefix "[" | trimSuffix "]" }}{{ end }}
{{- end }}

{{- define "herald.env" -}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- if .Values.k8sServiceHost }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ .Values.k8sServiceHost | quote }}
{{- end }}
{{- if .Values.k8sServicePort }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ .Values.k8sServicePort | toString | quote }}
{{- end }}
{{- end }}

{{/* Called with the values of a probe. */}}
{{- define "herald.probeTimes" -}}
periodSeconds: {{ .periodSeconds }}
timeoutSeconds: {{ .timeoutSeconds }}
failureThreshold: {{ .failureThreshold }}
{{- end }}

{{/* Called with a strategy: the default of one type stays beside another, which the API server refuses. */}}
{{- define "herald.strategy" -}}
{{- toYaml (ternary . (omit . "rollingUpdate") (eq .type "RollingUpdate")) }}
{{- end }}
