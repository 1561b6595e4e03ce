package lab

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// What the base layer is made of includes the code that makes it.
//
//go:embed base.go
var baseSource []byte

// Paths inside the base layer.
const (
	templateDir = "/var/lib/lab/flake"           // the flake every NewFlake copies
	factoryDir  = "/nix/var/nix/gcroots/lab"     // links to the systems a fresh host starts with
	initPath    = "/usr/sbin/lab-init"           // PID 1 of a host until it execs systemd
	systemLink  = "/nix/var/nix/profiles/system" // the system profile
)

// Loaders a host can have.
const (
	GRUB        = "grub"
	SystemdBoot = "systemd-boot"
)

// base is the layer above the image: the flake, its tools and the built factory systems.
type base struct {
	dir   string
	image string
}

// lower is the overlay's lower directories for a host above this base, topmost first.
func (b base) lower() string { return filepath.Join(b.dir, "upper") + ":" + b.image }

func (b base) deployerKey() string { return filepath.Join(b.dir, "deployer") }

func baseLayer(ctx context.Context, repo, image string) (base, error) {
	var folders []string
	for _, folder := range []string{"flake", "stc", "init", "services"} {
		folders = append(folders, filepath.Join(repo, "lab", folder))
	}
	sources, err := digestTree(folders...)
	if err != nil {
		return base{}, err
	}
	name := "base-" + digest([]byte(imageName()), []byte(sources), baseSource, []byte(launchScript))
	dir, err := layer(ctx, name, func(dir string) error { return buildBase(ctx, repo, image, dir) })
	return base{dir: dir, image: image}, err
}

func buildBase(ctx context.Context, repo, image, dir string) (err error) {
	if err := makeLayerDirs(dir); err != nil {
		return err
	}
	deployer, err := newKeyPair("hdeploy lab deployer")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "deployer"), deployer.private, 0o600); err != nil {
		return fmt.Errorf("write deployer key: %v", err)
	}
	tools := filepath.Join(dir, "tools")
	if err := buildTools(ctx, repo, tools); err != nil {
		return err
	}
	held, err := holdRoot(ctx, dir, image)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, held.Close()) }()
	if err := fillBase(held.rootDir, repo, tools, deployer.public); err != nil {
		return err
	}
	for _, name := range []string{"factory-" + GRUB, "factory-" + SystemdBoot, "other-" + GRUB, "other-" + SystemdBoot} {
		err := held.run(ctx, nil, "nix", "build", "--option", "sandbox", "false",
			"--out-link", filepath.Join(factoryDir, name),
			templateDir+"#nixosConfigurations."+name+".config.system.build.toplevel")
		if err != nil {
			return err
		}
	}
	return nil
}

// makeLayerDirs creates what an overlay needs in dir.
func makeLayerDirs(dir string) error {
	for _, name := range []string{"root", "upper", "work", "disks"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			return fmt.Errorf("create host directory: %v", err)
		}
	}
	return nil
}

// buildTools compiles every program that runs inside a host into one directory. A folder
// without Go sources holds a script of the folder's own name.
func buildTools(ctx context.Context, repo, tools string) error {
	sources, err := filepath.Glob(filepath.Join(repo, "lab", "services", "*"))
	if err != nil {
		return fmt.Errorf("list services: %v", err)
	}
	sources = append(sources, filepath.Join(repo, "lab", "stc"), filepath.Join(repo, "lab", "init"))
	for _, source := range sources {
		info, err := os.Stat(source)
		if err != nil {
			return fmt.Errorf("find lab program: %v", err)
		}
		if !info.IsDir() {
			continue
		}
		target := filepath.Join(tools, filepath.Base(source))
		if files, _ := filepath.Glob(filepath.Join(source, "*.go")); len(files) == 0 {
			if err := copyFile(filepath.Join(source, filepath.Base(source)), target); err != nil {
				return err
			}
			continue
		}
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", target, ".")
		cmd.Dir = source
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := runGroup(cmd); err != nil {
			return fmt.Errorf("build %s: %v: %s", target, err, lastLines(out, 20))
		}
	}
	return nil
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("copy lab program: %v", err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return fmt.Errorf("copy lab program: %v", err)
	}
	if err := os.WriteFile(to, data, 0o755); err != nil {
		return fmt.Errorf("copy lab program: %v", err)
	}
	return nil
}

func fillBase(root rootDir, repo, tools, deployer string) error {
	if err := copyTree(root, filepath.Join(repo, "lab", "flake"), templateDir); err != nil {
		return err
	}
	if err := copyTree(root, tools, templateDir+"/tools"); err != nil {
		return err
	}
	busybox, err := root.readFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("read busybox of the image: %v", err)
	}
	shim, err := root.readFile(templateDir + "/tools/init")
	if err != nil {
		return fmt.Errorf("read lab init: %v", err)
	}
	return errors.Join(
		root.writeFile(templateDir+"/tools/busybox", busybox, 0o755),
		root.writeFile(initPath, shim, 0o755),
		root.writeFile(templateDir+"/deployer.pub", []byte(deployer+"\n"), 0o644),
		root.makeDirs(factoryDir),
	)
}

// copyTree copies the regular files below from, leaving out Go sources.
func copyTree(root rootDir, from, to string) error {
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || strings.HasSuffix(path, ".go") {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		return root.writeFile(filepath.Join(to, name), data, info.Mode().Perm()|0o444)
	})
	if err != nil {
		return fmt.Errorf("copy %s into the lab: %v", filepath.Base(from), err)
	}
	return nil
}
