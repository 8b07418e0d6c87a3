package policy

type condition struct{}
type rule struct{}
type Subject struct{}
