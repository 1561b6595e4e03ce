package lab

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed image/image.sh
var imageScript string

// cacheDir holds the layers that all worlds share. They are never changed once made.
func cacheDir() string { return envOr("HDEPLOY_LAB_CACHE", "/var/cache/hdeploy-lab") }

// runDir holds the worlds: what hosts wrote, and which processes run them.
func runDir() string { return envOr("HDEPLOY_LAB_DIR", "/var/lib/hdeploy-lab") }

func envOr(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

// layer makes the cache entry name once: build fills a fresh directory, which gets its
// name only when complete, so that an interrupted build is never taken for a layer.
func layer(ctx context.Context, name string, build func(dir string) error) (string, error) {
	final := filepath.Join(cacheDir(), name)
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	if err := os.MkdirAll(cacheDir(), 0o755); err != nil {
		return "", fmt.Errorf("create lab cache: %v", err)
	}
	unlock, err := lockFile(ctx, filepath.Join(cacheDir(), "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	temp := final + ".unfinished"
	if err := os.RemoveAll(temp); err != nil {
		return "", fmt.Errorf("remove unfinished layer: %v", err)
	}
	if err := os.Mkdir(temp, 0o755); err != nil {
		return "", fmt.Errorf("create layer: %v", err)
	}
	if err := build(temp); err != nil {
		return "", errors.Join(fmt.Errorf("build lab layer %s: %w", name, err), os.RemoveAll(temp))
	}
	if err := os.Rename(temp, final); err != nil {
		return "", fmt.Errorf("finish layer: %v", err)
	}
	return final, nil
}

func imageName() string { return "image-" + digest([]byte(imageScript)) }

// imageLayer is the Debian root below everything else. Building it takes about a minute.
func imageLayer(ctx context.Context) (string, error) {
	dir, err := layer(ctx, imageName(), func(dir string) error {
		root := filepath.Join(dir, "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, "bash", "-c", imageScript, "image.sh", root)
		out, err := runGroup(cmd)
		if err != nil {
			return fmt.Errorf("%v: %s", err, lastLines(out, 20))
		}
		return nil
	})
	return filepath.Join(dir, "root"), err
}

// repository finds the sources the lab is made from, above the working directory.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find repository: %v", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "lab", "launch.sh")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find repository: no parent of the working directory has lab/launch.sh")
		}
		dir = parent
	}
}

func digest(parts ...[]byte) string {
	hash := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(hash, "%d:", len(part))
		hash.Write(part)
	}
	return hex.EncodeToString(hash.Sum(nil))[:16]
}

// digestTree covers names, contents and execute bits of every file below the given folders.
func digestTree(folders ...string) (string, error) {
	var parts [][]byte
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
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
			name, err := filepath.Rel(filepath.Dir(folder), path)
			header := fmt.Sprintf("%s %t", name, info.Mode()&0o100 != 0)
			parts = append(parts, []byte(header), data)
			return err
		})
		if err != nil {
			return "", fmt.Errorf("read lab sources: %v", err)
		}
	}
	return digest(parts...), nil
}

// RemoveLayers deletes the cache. No world may be open.
func RemoveLayers(ctx context.Context) error {
	if err := os.MkdirAll(cacheDir(), 0o755); err != nil {
		return fmt.Errorf("open lab cache: %v", err)
	}
	unlock, err := lockFile(ctx, filepath.Join(cacheDir(), "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	for _, pattern := range []string{"image-*", "base-*", "newnix-*"} {
		layers, err := filepath.Glob(filepath.Join(cacheDir(), pattern))
		if err != nil {
			return fmt.Errorf("list layers: %v", err)
		}
		for _, dir := range layers {
			if err := os.RemoveAll(dir); err != nil {
				return fmt.Errorf("remove layer: %v", err)
			}
		}
	}
	return nil
}
