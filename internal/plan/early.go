package plan

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ParseGroupKinds reads the value of --custom-apply-stage-kinds: "GROUP/KIND,KIND", a core kind without its group.
func ParseGroupKinds(text string) (map[schema.GroupKind]bool, error) {
	kinds := map[schema.GroupKind]bool{}
	if text == "" {
		return kinds, nil
	}
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		group, kind, grouped := strings.Cut(item, "/")
		if !grouped {
			group, kind = "", item
		}
		if kind == "" || grouped && group == "" || strings.Contains(kind, "/") {
			return nil, fmt.Errorf("%q is not GROUP/KIND, such as rbac.authorization.k8s.io/Role", item)
		}
		kinds[schema.GroupKind{Group: group, Kind: kind}] = true
	}
	return kinds, nil
}
