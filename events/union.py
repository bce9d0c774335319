"""Every event that exists, and the one type that readers match on. Adding an event: ops/docs/adding-an-event.md."""

import msgspec

from events import access, build, environment, model, node, replica, scaling, seal, webhook, weights

AnyEvent = (
    model.ModelRegistered
    | model.DeploymentPushed
    | model.DeploymentCopied
    | model.DevelopmentPatched
    | model.DevelopmentSyncRequested
    | model.DeploymentFailed
    | model.DeploymentRenamed
    | model.DeploymentLabelled
    | model.DeploymentRetried
    | model.DeploymentDeactivated
    | model.DeploymentActivated
    | model.DeploymentDeleted
    | model.ModelDeleted
    | build.BuildRequested
    | build.BuildStarted
    | build.BuildStepFinished
    | weights.WeightsPinned
    | weights.WeightsMirrored
    | weights.WeightsMirrorFailed
    | weights.WeightsDiscarded
    | build.BuildSucceeded
    | build.BuildFailed
    | build.BuildStopped
    | environment.EnvironmentCreated
    | environment.EnvironmentConfigured
    | environment.RequestLimitsSet
    | environment.PromotionSettingsSet
    | environment.PromotionStarted
    | environment.PromotionStepped
    | environment.PromotionPaused
    | environment.PromotionResumed
    | environment.PromotionRolledBack
    | environment.PromotionCompleted
    | environment.PromotionFailed
    | environment.PromotionCancelled
    | environment.EnvironmentDeleted
    | environment.EnvironmentReverted
    | scaling.ScalingConfigured
    | scaling.ReplicaTargetRaised
    | scaling.ReplicaTargetLowered
    | scaling.ScaledToZero
    | scaling.ReplicasHeld
    | scaling.ReplicaHoldReleased
    | scaling.CapacityLacking
    | scaling.MinimumScheduled
    | replica.ReplicaAssigned
    | replica.ReplicaEnvironmentReady
    | replica.ReplicaWeightsReady
    | replica.ReplicaWeightsLate
    | replica.ReplicaProcessStarted
    | replica.ReplicaReady
    | replica.ReplicaPatched
    | replica.ReplicaPatchFailed
    | replica.ReplicaUnready
    | replica.ReplicaDraining
    | replica.ReplicaStopped
    | replica.ReplicaFailed
    | replica.ReplicaLost
    | node.NodeJoined
    | node.NodeDraining
    | node.NodeResumed
    | node.NodeLost
    | node.NodeLeft
    | node.WeightsFoundCorrupt
    | node.WeightsPrefetchRequested
    | node.WeightsPrefetched
    | node.WeightsPrefetchLate
    | node.WeightsPrefetchFailed
    | node.WeightsPrefetchWithdrawn
    | access.KeyIssued
    | access.KeyRevoked
    | access.SecretStored
    | access.SecretRemoved
    | seal.LogSealed
    | seal.LossAccepted
    | webhook.WebhookRegistered
    | webhook.WebhookMoved
    | webhook.WebhookRemoved
    | webhook.DeliveryGivenUp
    | webhook.RedeliveryRequested
    | webhook.RedeliverySucceeded
    | webhook.DeliveriesTaken
)


class UnknownEvent(msgspec.Struct, frozen=True):
    """An event written by a newer version. Folds skip and count it; deciders refuse to decide on it."""

    type: str
    body: str
    """The event as JSON text, untouched."""
