// Makes strvals.jsonl again: the same texts, and what Helm's own parser makes of each. From tests/bed/helm, where the
// version of Helm is pinned:
//
//	data=../../../crates/klm-core/tests/data
//	go run $data/strvals.go < $data/strvals.jsonl > new && mv new $data/strvals.jsonl
package main

import (
	"bufio"
	"encoding/json"
	"log"
	"os"

	"helm.sh/helm/v4/pkg/strvals"
)

type row struct {
	Strings map[string]any `json:"strings,omitempty"`
	Text    string         `json:"text"`
	Typed   map[string]any `json:"typed,omitempty"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for lines.Scan() {
		var before row
		if err := json.Unmarshal(lines.Bytes(), &before); err != nil {
			log.Fatal(err)
		}
		after := map[string]any{"text": before.Text}
		if values, err := strvals.Parse(before.Text); err == nil {
			after["typed"] = values
		}
		if values, err := strvals.ParseString(before.Text); err == nil {
			after["strings"] = values
		}
		if err := out.Encode(after); err != nil {
			log.Fatal(err)
		}
	}
}
