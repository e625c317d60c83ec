package reconcile

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
)

const (
	maxExpressions  = 4096            // compiled ones kept in memory
	expressionLimit = 5 * time.Second // for one evaluation: an expression comes from a tenant
)

// expression is one compiled CEL expression.
type expression struct {
	text    string
	program cel.Program
}

// expressions compiles each text once, for the whole process: a compiled program holds nothing of what it was used on.
var expressions = struct {
	sync.Mutex
	known map[string]*expression
}{known: map[string]*expression{}}

// compile makes an expression over the given variables. Without variables it is only parsed: its variables are the fields
// of the object that it is evaluated on, whatever they are.
func compile(text string, variables ...string) (*expression, error) {
	key := fmt.Sprintf("%q %s", variables, text)
	expressions.Lock()
	defer expressions.Unlock()
	if e := expressions.known[key]; e != nil {
		return e, nil
	}
	e, err := newExpression(text, variables)
	if err != nil {
		return nil, err
	}
	if len(expressions.known) >= maxExpressions {
		clear(expressions.known)
	}
	expressions.known[key] = e
	return e, nil
}

// newExpression compiles with the options and libraries that Flux gives to its users.
func newExpression(text string, variables []string) (*expression, error) {
	options := []cel.EnvOption{
		cel.HomogeneousAggregateLiterals(), cel.EagerlyValidateDeclarations(true), cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(), ext.Strings(), ext.Sets(), ext.Encoders(),
	}
	for _, v := range variables {
		options = append(options, cel.Variable(v, cel.ObjectType("google.protobuf.Struct")))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, err
	}
	check := env.Parse
	if len(variables) > 0 {
		check = env.Compile
	}
	ast, issues := check(text)
	if issues != nil && issues.Err() != nil {
		return nil, issues.Err()
	}
	if len(variables) > 0 && ast.OutputType() != cel.BoolType {
		return nil, fmt.Errorf("the expression gives %s, not a bool", ast.OutputType())
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.InterruptCheckFrequency(100))
	if err != nil {
		return nil, err
	}
	return &expression{text, program}, nil
}

// holds evaluates the expression.
func (e *expression) holds(ctx context.Context, variables map[string]any) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, expressionLimit)
	defer cancel()
	value, _, err := e.program.ContextEval(ctx, variables)
	if err != nil {
		return false, fmt.Errorf("CEL expression %q: %w", e.text, err)
	}
	b, ok := value.(types.Bool)
	if !ok {
		return false, fmt.Errorf("CEL expression %q gives %s, not a bool", e.text, value.Type().TypeName())
	}
	return bool(b), nil
}
