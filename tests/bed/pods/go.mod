module bed/pods

go 1.26.0
