package main

import (
	"context"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/version"
	"k8s.io/utils/clock"
	nodestages "sigs.k8s.io/kwok/kustomize/stage/node/fast"
	podstages "sigs.k8s.io/kwok/kustomize/stage/pod/fast"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	kwokclient "sigs.k8s.io/kwok/pkg/client/clientset/versioned"
	kwokconfig "sigs.k8s.io/kwok/pkg/config"
	kwokcontrollers "sigs.k8s.io/kwok/pkg/kwok/controllers"
	kwoklog "sigs.k8s.io/kwok/pkg/log"
	kwokutil "sigs.k8s.io/kwok/pkg/utils/client"
)

// Only nodes with this annotation are simulated; others are left to whoever made them.
const (
	simulatedAnnotation = "kwok.x-k8s.io/node"
	simulatedValue      = "fake"
)

// podRange gives simulated pods their addresses.
const podRange = "10.244.0.0/16"

// runNodes plays the kubelets of all simulated nodes until ctx ends: pods become Ready at once, those of Jobs complete,
// deleted ones go. The API server must be ready and kwok's role in place (ensureKwokRole).
func runNodes(ctx context.Context, o *runOptions) error {
	ctx = kwoklog.NewContext(ctx, kwoklog.NewLogger(os.Stderr, kwoklog.LevelWarn))
	config, err := kwokConfig(kubeconfigOf(o, "kwok"))
	if err != nil {
		return fmt.Errorf("kwok: %w", err)
	}
	controller, err := kwokcontrollers.NewController(*config)
	if err != nil {
		return fmt.Errorf("kwok: %w", err)
	}
	if err := controller.Start(ctx); err != nil {
		return fmt.Errorf("kwok: %w", err)
	}
	<-ctx.Done()
	return nil
}

// kwokConfig is what kwok's own command makes of its flags, without the server it would open and without node leases,
// which are written every ten seconds for a node lifecycle controller that we don't run.
func kwokConfig(kubeconfig string) (*kwokcontrollers.Config, error) {
	clients, err := kwokutil.NewClientset("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config, err := clients.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	dynamic, err := clients.ToDynamicClient()
	if err != nil {
		return nil, err
	}
	mapper, err := clients.ToRESTMapper()
	if err != nil {
		return nil, err
	}
	raw, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, err
	}
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	kwok, err := kwokclient.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	stages, err := simulatedStages()
	if err != nil {
		return nil, err
	}
	id, err := kwokcontrollers.Identity()
	return &kwokcontrollers.Config{
		Clock:                             clock.RealClock{},
		DynamicClient:                     dynamic,
		RESTClient:                        raw,
		RESTMapper:                        mapper,
		ImpersonatingDynamicClient:        clients.ToImpersonatingDynamicClient(),
		ImpersonatingTypedClient:          clients.ToImpersonatingTypedClient(),
		TypedClient:                       typed,
		TypedKwokClient:                   kwok,
		ManageNodesWithAnnotationSelector: simulatedAnnotation + "=" + simulatedValue,
		CIDR:                              podRange,
		NodeIP:                            "127.0.0.1",
		LocalStages:                       stages,
		PodPlayStageParallelism:           4,
		NodePlayStageParallelism:          1,
		PodsOnNodeSyncParallelism:         1,
		ID:                                id,
	}, err
}

// simulatedStages is kwok's "fast" lifecycle, by the kind it applies to.
func simulatedStages() (map[internalversion.StageResourceRef][]*internalversion.Stage, error) {
	stages := map[internalversion.StageResourceRef][]*internalversion.Stage{}
	for _, text := range []string{nodestages.DefaultNodeInit, podstages.DefaultPodReady, podstages.DefaultPodComplete,
		podstages.DefaultPodDelete} {
		stage, err := kwokconfig.UnmarshalWithType[*internalversion.Stage](text)
		if err != nil {
			return nil, err
		}
		stages[stage.Spec.ResourceRef] = append(stages[stage.Spec.ResourceRef], stage)
	}
	return stages, nil
}

// ensureNodes registers n simulated nodes, Ready from the start; those that exist stay as they are.
func ensureNodes(ctx context.Context, c kubernetes.Interface, n int) error {
	for i := range n {
		_, err := c.CoreV1().Nodes().Create(ctx, simulatedNode(i), metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("register node %d: %w", i, err)
		}
	}
	return nil
}

func simulatedNode(i int) *corev1.Node {
	name := fmt.Sprintf("sluice-node-%d", i)
	room := corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse("256"),
		corev1.ResourceMemory:           resource.MustParse("1Ti"),
		corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
		corev1.ResourcePods:             resource.MustParse("10000"),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{simulatedAnnotation: simulatedValue},
			Labels: map[string]string{
				corev1.LabelHostname:   name,
				corev1.LabelOSStable:   "linux",
				corev1.LabelArchStable: "amd64",
				"type":                 "kwok",
			},
		},
		Status: corev1.NodeStatus{
			Capacity:    room,
			Allocatable: room,
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"},
				{Type: corev1.NodeHostName, Address: name}},
			Conditions: []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(),
				LastTransitionTime: metav1.Now(), Reason: "KubeletReady", Message: "simulated by kwok",
			}},
			NodeInfo: corev1.NodeSystemInfo{
				KubeletVersion:          version.Get().GitVersion,
				KubeProxyVersion:        version.Get().GitVersion,
				ContainerRuntimeVersion: "kwok://simulated",
				OSImage:                 "simulated by kwok",
				OperatingSystem:         "linux",
				Architecture:            "amd64",
			},
		},
	}
}
