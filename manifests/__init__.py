"""What runs SFS beside a cluster: on one machine (``laptop``), to try it out."""
