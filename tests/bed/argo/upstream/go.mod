// Fetches the sources of Argo Workflows with a checked hash; ../go.mod builds a repaired copy of them.
module bed/argo/upstream

go 1.26.0

require github.com/argoproj/argo-workflows/v3 v3.7.18
